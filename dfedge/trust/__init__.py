"""Who is who: keys, certificates, signatures, the root, revocation and the time floor."""
