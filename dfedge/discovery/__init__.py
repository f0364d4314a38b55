"""Finding peers: mDNS, static addresses, and the bounded roster of what was heard."""
