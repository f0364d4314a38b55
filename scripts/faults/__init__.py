"""What a node takes: power cuts and kills at random moments, with real agents on real file systems."""
