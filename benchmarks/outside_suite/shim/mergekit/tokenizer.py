"""The tokenizer of a recipe, as an object."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from mergekit import internals


class TokenizerConfig(BaseModel):
    """The key ``tokenizer``."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    source: Any = "union"
    tokens: dict[str, Any] | None = None
    pad_to_multiple_of: int | None = None


__getattr__ = internals.attribute_of("mergekit.tokenizer")
