"""The model's own lists: sampled, parsed, and paired with the same answer to a request for a long list."""
