"""What a reader sees: figures, and tables in the terminal."""
