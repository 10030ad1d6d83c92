"""Tensors to tensors: the networks of the codecs, float for training and integer for coding."""
