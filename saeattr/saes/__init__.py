"""Sparse autoencoders: finding them on disk, opening them one at a time, encoding and decoding in float32."""
