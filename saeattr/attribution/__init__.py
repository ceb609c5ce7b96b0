"""From captured runs to tables: the methods, one SAE at a time, one group of pairs at a time."""
