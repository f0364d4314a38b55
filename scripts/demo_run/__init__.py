"""The demonstration: real agents, a real image, 100 Mbit/s links, all on this machine."""
