"""What the last layers take from the right answer."""
