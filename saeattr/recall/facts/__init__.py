"""Facts asked of a model: batteries, their check, their ranking."""
