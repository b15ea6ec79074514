"""The families that are known, as text: a further one is a file beside this one and a line here."""

from typing import Final

from mergebarrier.arch.families.decoders import DECODERS
from mergebarrier.arch.families.encoders import ENCODERS
from mergebarrier.arch.families.gpt import GPT
from mergebarrier.arch.families.parts import PARTS
from mergebarrier.arch.families.seq2seq import SEQ2SEQ
from mergebarrier.arch.families.sparse import SPARSE
from mergebarrier.arch.families.towers import TOWERS
from mergebarrier.arch.family import FamilyTexts, numbered
from mergebarrier.arch.language import read_table

_TEXTS: Final = (GPT, DECODERS, SPARSE, ENCODERS, SEQ2SEQ, TOWERS, PARTS)
FAMILIES: Final[FamilyTexts] = FamilyTexts(read_table, *map(numbered, _TEXTS))
