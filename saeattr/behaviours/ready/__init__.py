"""Ready behaviours: rows of pairs drawn from templates and words written here, for any tokenizer."""
