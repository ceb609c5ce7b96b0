"""Facts set to other facts by their features."""
