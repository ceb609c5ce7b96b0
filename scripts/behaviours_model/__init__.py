"""A small model of two ready behaviours, agreement and greater-than, trained on sentences of their own generators."""
