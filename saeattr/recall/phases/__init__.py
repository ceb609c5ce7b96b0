"""In which layers facts are read, retrieved, moved and written."""
