"""Pages and pictures of docs/ that are printed from the code."""
