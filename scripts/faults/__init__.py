"""Faults, injected into real agents, and what became of them: one module for each row of docs/reliability.md."""
