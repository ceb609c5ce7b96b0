"""What is asked of a run, the runs of a batch of pairs, and exact effects measured in them."""
