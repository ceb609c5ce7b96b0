"""Metrics, attribution and the numbers that say how far to trust them."""
