"""The command line: parsing, progress, tables, JSON. No logic."""
