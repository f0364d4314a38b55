"""What dfedge knows and decides, free of I/O: images, the wire, the swarm. No clock, disk, network or task here."""
