"""Facts: a relation, an entity and its answer, paired with another entity of the same relation."""
