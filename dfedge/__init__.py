"""dfedge carries images to every node of an edge fleet, from node to node, with no central server."""

__version__ = "0.1.0"
