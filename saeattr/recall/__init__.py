"""Factual recall: which facts a model knows, and how strongly each of two entities moves its answer."""
