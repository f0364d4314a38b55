"""dfedge as one file. `boot` is what runs inside it; the other modules build it."""
