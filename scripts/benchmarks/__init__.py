"""What the pages of docs/ say in numbers, and how each was measured; ``python scripts/benchmark.py`` runs them."""
