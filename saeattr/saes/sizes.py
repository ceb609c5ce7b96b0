"""Bytes of an SAE in memory and of its dense activations. Nothing slow is imported here."""

from __future__ import annotations

#: Dense feature activations are made for so many bytes of tokens at a time.
DENSE_BYTES = 64 * 2**20


def float32_bytes(d_in: int, d_sae: int) -> int:
    """Of an SAE in memory: encoder, decoder, thresholds and biases."""
    return 4 * (2 * d_in * d_sae + 2 * d_sae + d_in)
