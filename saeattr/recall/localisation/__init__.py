"""Facts patched between clean and corrupted runs."""
