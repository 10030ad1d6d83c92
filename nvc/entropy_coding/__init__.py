"""Integers <-> bytes. No torch.

jit     numba with nvc's defaults and cache       tables   quantised cdfs, checked, many to a set
rans    one symbol at a time, in compiled walks   batch    many symbols whose tables are known
coder   Estimator, Encoder, Decoder: start here   (derivations: docs/rans.md)
"""
