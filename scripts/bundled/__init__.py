"""Building the bundled model and its SAEs from two lists of words: topics.yaml and saeattr's facts."""
