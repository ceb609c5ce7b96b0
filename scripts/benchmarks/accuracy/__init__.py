"""How good are the estimates? Every method against exact effects."""
