"""What is distributed: manifests, pieces, piece maps, names."""
