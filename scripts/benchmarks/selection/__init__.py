"""Is the choice of layers any good?"""
