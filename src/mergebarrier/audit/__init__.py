"""Merge and attack a protected model on a small grid, and say what is left of the protection.

The audit joins every other room; it does no I/O of its own and imports the heavy rooms when it runs.
"""

from mergebarrier.audit.result import Cell, Measurement, Result

__all__ = ["Cell", "Measurement", "Result"]
