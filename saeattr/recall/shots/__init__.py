"""Facts behind other facts of their relation."""
