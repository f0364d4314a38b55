"""What peers say to each other: messages, their one spelling, and the frame of a block."""
