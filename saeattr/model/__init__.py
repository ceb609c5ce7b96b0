"""Loading a language model, reading activations and gradients at sites, and re-running it from a layer."""
