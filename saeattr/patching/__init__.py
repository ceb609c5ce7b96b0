"""Which components carry the difference between two prompts: exact patches and first-order estimates."""
