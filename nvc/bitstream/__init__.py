"""Bytes <-> boxes: the container of FORMAT.md, chapters 2 to 6. No torch, no numba."""
