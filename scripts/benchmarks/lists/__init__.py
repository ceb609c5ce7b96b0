"""Lists that the model wrote itself against lists from elsewhere."""
