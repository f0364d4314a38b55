"""Faults put into real nodes: what is injected, what is expected, what was found."""
