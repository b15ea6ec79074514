"""Protections: each a short file that says which symmetries it uses and how it chooses their elements."""

from collections.abc import Mapping

from mergebarrier.protect.exact import Exact
from mergebarrier.protect.mergebarrier import MergeBarrier

PROTECTIONS: Mapping[str, type[Exact] | type[MergeBarrier]] = {"exact": Exact, "mergebarrier": MergeBarrier}
