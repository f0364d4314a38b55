"""Half an hour of everything: agents publish and fetch while disks, links and neighbours fail at random."""
