"""The node's disk area: nothing is in it that was not proven."""
