"""Whom to ask for what, whom to serve: events in, actions with reasons out."""
