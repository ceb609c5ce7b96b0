"""Heads that move facts to the final position, and what their removal does."""
