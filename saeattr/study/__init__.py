"""The study folder and its stages, each stored before the next begins."""
