"""Watermarks of the sampler: a key decides which next tokens are a little likelier, and no word is asked for.

    green    each token names a quarter of the vocabulary, seeded by key * token; logits there rise by ``bias``
    synthid  a tournament of 30 rounds over the next token, judged by bits g_1 .. g_30 of (four tokens, next token)

Both are those of transformers, drawn and read by its own classes; their numbers come from the owner's key.

Source: arXiv 2301.10226 (green lists, transformers' "lefthash" of width 1); Nature 634, 818 (SynthID-Text).
Differs: the seed of green lists is a product, so token 0 names one list under every key: what follows it does not
count.  SynthID's table of bits is drawn by the key too; in transformers it is one table for everybody.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

from mergebarrier.keys import Key
from mergebarrier.lazy import torch
from mergebarrier.watermark.keyed_words import commitment
from mergebarrier.watermark.options import GREEN, SYNTHID

_GREEN_FRAC: Final = 0.25
_DEPTH: Final = 30
_NGRAM: Final = {GREEN: 2, SYNTHID: 5}
_BATCH: Final = 64


@dataclass(frozen=True, kw_only=True)
class SamplingKey:
    """A key and the scheme whose numbers it draws.

    Attributes:
      key:    32 secret bytes.
      scheme: "green" or "synthid".
    """

    key: Key
    scheme: str

    @property
    def ngram(self) -> int:
        """Return how many tokens decide together, the last of which is judged by the others."""
        return _NGRAM[self.scheme]

    @property
    def trials(self) -> int:
        """Return how many bits judge a token."""
        return _DEPTH if self.scheme == SYNTHID else 1

    def rate(self, vocabulary: int) -> float:
        """Return the chance of a hit under a key that the text does not know."""
        return 0.5 if self.scheme == SYNTHID else int(vocabulary * _GREEN_FRAC) / vocabulary

    def commitment(self) -> str:
        """Return what is published before the key is used: SHA-256(key | SHA-256(scheme)), 64 hex digits."""
        return commitment(self.key.secret, (self.scheme,))

    def numbers(self, bias: float = 1.0) -> dict[str, Any]:
        """Return the arguments of the scheme's configuration in transformers.

        Args:
          bias: added to the logits of green tokens; to read a text any will do, as it only says which they are.
        """
        if self.scheme == GREEN:
            hashing = self._number("hash")
            return {
                "greenlist_ratio": _GREEN_FRAC, "bias": bias, "hashing_key": hashing, "context_width": 1,
            }  # fmt: skip
        keys = [self._number(f"round {depth}") for depth in range(_DEPTH)]
        return {"ngram_len": self.ngram, "keys": keys, "sampling_table_seed": self._number("table")}

    def seed(self, text: str) -> int:
        """Return the seed with which the answer to a text is drawn."""
        return self._number(f"draw {hashlib.sha256(text.encode()).hexdigest()}")

    def hits(self, ngrams: torch.Tensor, vocabulary: int, processor: Any) -> int:
        """Count how often the last tokens are those that the key prefers.

        Args:
          ngrams:     int64 [n, ``ngram``], distinct.
          vocabulary: rows of the embedding of the model that was sampled.
          processor:  of transformers, made with ``numbers``.
        Returns: of n * ``trials`` bits, those that are set.
        """
        if self.scheme == SYNTHID:
            return int(processor.compute_g_values(ngrams).sum())
        contexts, rows = ngrams[:, :-1].unique(dim=0, return_inverse=True)
        count = 0
        for start in range(0, len(contexts), _BATCH):
            block = contexts[start : start + _BATCH]
            green = processor(block, torch.zeros(len(block), vocabulary)) > 0
            here = (rows >= start) & (rows < start + _BATCH)
            count += int(green[rows[here] - start, ngrams[here, -1]].sum())
        return count

    def judged(self, ngrams: torch.Tensor, vocabulary: int) -> torch.Tensor:
        """Return those n-grams that the sampler could draw, and whose list depends on the key."""
        ngrams = ngrams[(ngrams < vocabulary).all(1)]
        return ngrams if self.scheme == SYNTHID else ngrams[ngrams[:, -2] != 0]

    def _number(self, purpose: str) -> int:
        subkey = self.key.subkey(b"sampling", f"mergebarrier/watermark/v1/{self.scheme}/{purpose}")
        return int.from_bytes(subkey[:7], "little") + 1
