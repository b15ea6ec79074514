"""The families that are known, as text: a further one is a file beside this one and a line here."""

from typing import Final

from mergebarrier.arch.decoders import DECODERS
from mergebarrier.arch.encoders import ENCODERS
from mergebarrier.arch.family import FamilyTexts, numbered
from mergebarrier.arch.gpt import GPT
from mergebarrier.arch.language import read_table
from mergebarrier.arch.parts import PARTS
from mergebarrier.arch.seq2seq import SEQ2SEQ
from mergebarrier.arch.sparse import SPARSE
from mergebarrier.arch.towers import TOWERS

_TEXTS: Final = (
    GPT,
    DECODERS,
    SPARSE,
    ENCODERS,
    SEQ2SEQ,
    TOWERS,
    PARTS,
)
FAMILIES: Final[FamilyTexts] = FamilyTexts(read_table, *map(numbered, _TEXTS))
