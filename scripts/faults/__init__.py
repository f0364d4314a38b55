"""Faults put into real nodes, one script each: what is injected, what is expected, what was found."""
