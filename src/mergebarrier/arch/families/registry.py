"""The families that are known, as data: another one is a file in this folder and a line here."""

from collections.abc import Mapping
from typing import Final

from mergebarrier.arch.families.gpt2 import GPT2
from mergebarrier.arch.families.llama import LLAMA
from mergebarrier.arch.family import Family

FAMILIES: Final[Mapping[str, Family]] = {
    "gpt2": GPT2,
    "llama": LLAMA,
}
