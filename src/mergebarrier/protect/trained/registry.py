"""The trained protections by name, one line each."""

from collections.abc import Mapping

from mergebarrier.protect.trained.arf import Arf
from mergebarrier.protect.trained.layered import Layered
from mergebarrier.protect.trained.mergeguard import MergeGuard
from mergebarrier.protect.trained.trained import TrainedProtection
from mergebarrier.protect.trained.trap2 import Trap2

TRAINED: Mapping[str, type[TrainedProtection]] = {
    "trap2": Trap2,
    "mergeguard": MergeGuard,
    "arf": Arf,
    "layered": Layered,
}
