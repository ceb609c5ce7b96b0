"""Lists as data: many of them made or read, and what they are like."""
