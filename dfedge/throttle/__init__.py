"""From the host's load to what we may spend."""
