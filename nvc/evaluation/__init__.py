"""Measuring: what a codec costs in bytes on disk and what comes back, beside others.

docs/evaluation.md defines every number.
"""
