"""Pairs that a user gives, as a file or as objects: rows, their alignment, and what becomes of each."""
