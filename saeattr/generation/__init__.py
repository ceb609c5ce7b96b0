"""Lists written while features are held at their base value."""
