"""Topics, requests, sampling from the model, list parsing and clean/corrupted pairs."""
