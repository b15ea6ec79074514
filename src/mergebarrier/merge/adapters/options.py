"""What a merge writes: a model, or one adapter from adapters; set by three keys of a recipe or three options.

mergebarrier: {as: adapter, rank: 16, lora_space: product | factor}
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mergebarrier.errors import BadMergeParameter
from mergebarrier.merge.method import refuse
from mergebarrier.parameters import built, check, choice, parameters_of, whole

SPACES: Final = ("product", "factor")


@dataclass(frozen=True, kw_only=True)
class AdapterOutput:
    """One adapter as the output.

    Raises: BadMergeParameter.
    """

    rank: int | None = whole(None, help="Rank of the adapter at most; the sum of all ranks without it.", low=1)
    lora_space: str = choice("product", choices=SPACES, help="Merge the updates (exact), or A and B apart.")

    def __post_init__(self) -> None:
        """Check both."""
        check(self, functools.partial(refuse, "merge"))


#: Keys under ``mergebarrier`` that say what is written; no method has a parameter of these names.
OUTPUT_KEYS: Final = ("as", *parameters_of(AdapterOutput))


def output_of(asked: Mapping[str, object]) -> AdapterOutput | None:
    """Return what is to be written by the values of OUTPUT_KEYS that are given; None for a model.

    Raises: BadMergeParameter for a bad value, or for one that has no meaning for a model.
    """
    given = {key: asked[key] for key in OUTPUT_KEYS if asked.get(key) is not None}
    kind = given.pop("as", "model")
    if kind not in ("model", "adapter"):
        raise refuse("merge", "as", kind, "model | adapter")
    if kind == "adapter":
        return built(AdapterOutput, given)
    if given:
        name = next(iter(given))
        raise BadMergeParameter(
            "has no effect when the output is a whole model",
            where=name,
            remedy="write an adapter (--as adapter), or leave it out",
        )
    return None
