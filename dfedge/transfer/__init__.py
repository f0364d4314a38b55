"""The wire: SSH connections between pairs of nodes, and the blocks that cross them."""
