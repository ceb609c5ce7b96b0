"""Where prompt pairs come from: each behaviour yields groups of pairs, and nothing above knows which it was."""
