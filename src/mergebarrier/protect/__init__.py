"""Protections: each a short file that says which symmetries it uses and how it chooses their elements."""

from collections.abc import Mapping

from mergebarrier.protect._protection import Protection
from mergebarrier.protect.exact import PARTS, Exact
from mergebarrier.protect.mergebarrier import MergeBarrier

PROTECTIONS: Mapping[str, type[Exact] | type[MergeBarrier]] = {"exact": Exact, "mergebarrier": MergeBarrier}

__all__ = ["PARTS", "PROTECTIONS", "Exact", "MergeBarrier", "Protection"]
