"""What two ready behaviours give through every stage on a small model that was trained on them."""
