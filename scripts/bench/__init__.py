"""The same image over the same LAN through dfedge and what a user would otherwise pick, round by round."""
