"""What the model is about to say, position by position: its entropy, and the logit lens."""
