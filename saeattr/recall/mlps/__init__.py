"""MLPs as sums of what was written before them."""
