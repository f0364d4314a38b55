"""Wiring: configuration, control socket, life cycle. No flows."""
