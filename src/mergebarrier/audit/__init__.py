"""Merge and attack a protected model on a small grid, and say what is left of the protection.

The audit joins every other room; it does no I/O of its own and imports the heavy rooms when it runs.
"""

from mergebarrier.audit._audit import run_audit
from mergebarrier.audit._bench import Journal
from mergebarrier.audit.levels import LEVELS
from mergebarrier.audit.result import Cell, Measurement, Result
from mergebarrier.audit.spec import MERGES, AuditSpec, Setting, levels_from, published, searched

__all__ = [
    "LEVELS",
    "MERGES",
    "AuditSpec",
    "Cell",
    "Journal",
    "Measurement",
    "Result",
    "Setting",
    "levels_from",
    "published",
    "run_audit",
    "searched",
]
