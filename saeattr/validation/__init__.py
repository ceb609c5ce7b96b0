"""Exact effects against controls, verdicts, and many features patched together."""
