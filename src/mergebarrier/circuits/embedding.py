"""Which tensor of a table a tied head is, and a head that is stored in the embedding's place: one tensor, two names.

    lm_head.weight, no embed_tokens, tied   ->   the member of embed_tokens, under the name that is on disk

Source: what tied weights are to the stock loaders of transformers 5, which fill either from the other.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from mergebarrier.arch import Family
from mergebarrier.circuits.circuit import Member

#: End of the name of a matrix with a row per token.
EMBEDDING: Final = re.compile(
    r"(^|\.)(shared|embed_tokens|embed_in|wte|word_embeddings|tok_embeddings|backbone\.embeddings)\.weight$"
)


def embedding_of(table: Family) -> str:
    """Return the canonical name of the tensor that a tied head is; "" in a table without one."""
    found = [line.name for line in table.lines if EMBEDDING.search(line.name)] if table.head else []
    return min(found, key=lambda name: not name.endswith("shared.weight"), default="")


def as_embedding(table: Family, members: Mapping[str, Member]) -> dict[str, Member]:
    """Return the members of a tied model that holds a head and no embedding: the head is the embedding."""
    name = embedding_of(table)
    line = next((line for line in table.lines if line.name == name), None)
    if line is None:
        return dict(members)
    alone = replace(members[table.head], canonical=name, line=line)
    return dict((name, alone) if one == table.head else (one, member) for one, member in members.items())
