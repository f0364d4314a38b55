"""dfedge on a host: its versions side by side, the link to the one that runs, its unit, and going back."""
