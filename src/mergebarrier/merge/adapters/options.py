"""What a merge writes: a model, or one adapter out of adapters; three keys of our own in a recipe, three options.

mergebarrier: {as: adapter, rank: 16, lora_space: product | factor}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mergebarrier.errors import BadMergeParameter
from mergebarrier.merge.arithmetic import checks

#: Keys under ``mergebarrier`` that say what is written; no method has a parameter of these names.
OUTPUT_KEYS: Final = ("as", "rank", "lora_space")
KINDS: Final = ("model", "adapter")
SPACES: Final = ("product", "factor")


@dataclass(frozen=True)
class AdapterOutput:
    """One adapter as the output.

    Args:
      rank:  at most; None for the sum of the ranks that go in.
      space: "product", where the updates are merged, or "factor", where A and B are merged apart.
    Raises: BadMergeParameter.
    """

    rank: int | None = None
    space: str = "product"

    def __post_init__(self) -> None:
        """Check both."""
        checks.choice("merge", "lora_space", self.space, SPACES)
        if self.rank is not None:
            checks.whole("merge", "rank", self.rank, 1)


def output_of(asked: Mapping[str, Any]) -> AdapterOutput | None:
    """Return what is to be written by the values of OUTPUT_KEYS that are given; None for a model.

    Raises: BadMergeParameter for a bad value, or for one that has no meaning for a model.
    """
    given = {key: asked[key] for key in OUTPUT_KEYS if asked.get(key) is not None}
    if checks.choice("merge", "as", given.pop("as", "model"), KINDS) == "adapter":
        return AdapterOutput(given.get("rank"), given.get("lora_space", "product"))
    if given:
        name = next(iter(given))
        raise BadMergeParameter("has no meaning for a model", where=name, remedy="write an adapter, or leave it out")
    return None
