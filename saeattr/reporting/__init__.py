"""What a reader sees: figures, the terminal, the page."""
