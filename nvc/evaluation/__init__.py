"""Measuring: what a codec costs in bytes on disk and what comes back, against others. docs/evaluation.md defines every number."""
