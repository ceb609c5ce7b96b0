"""Ready behaviours: rows of pairs drawn from templates and words written here, for any tokenizer."""

#: Those there are, in the order in which they are listed.
READY = ("ioi", "greater-than", "agreement", "pronoun", "docstring", "antonyms", "country-capital", "refusal")
