"""The protections by name: one line each, read by the command line, the verbs, the reports and the documentation."""

from collections.abc import Mapping

from mergebarrier.protect.exact import Exact
from mergebarrier.protect.mergebarrier import MergeBarrier
from mergebarrier.protect.mergelock import MergeLock
from mergebarrier.protect.params import Params
from mergebarrier.protect.protection import Protection
from mergebarrier.protect.widen import Widen

PROTECTIONS: Mapping[str, type[Protection]] = {
    "exact": Exact,
    "mergebarrier": MergeBarrier,
    "params": Params,
    "mergelock": MergeLock,
    "widen": Widen,
}
