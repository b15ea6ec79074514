"""A tokenizer of 96 words, one token each, for the tiny models."""

from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers

WORDS = [f"w{i}" for i in range(96)]


def prose(sequences: int, length: int = 256) -> str:
    """Return words in a fixed, unordered order: so many sequences of a length."""
    return " ".join(WORDS[n * n * 7 % 95 + n * 31 % 2] for n in range(sequences * length))


def add_tokenizer(folder: Path) -> Path:
    """Write tokenizer.json into a model folder and return the folder."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
