"""Options of a merge."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MergeOptions:
    """The options that the tests give."""

    unsafe_truncate_embeddings: bool = False
    allow_crimes: bool = False
    copy_tokenizer: bool = True
    random_seed: int | None = None
    quiet: bool = False
