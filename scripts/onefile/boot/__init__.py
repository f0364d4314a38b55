"""What runs inside dfedge.pyz before dfedge does. Standard library only, and nothing of dfedge until it is ready."""
