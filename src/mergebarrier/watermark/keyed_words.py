"""Which words belong to a query: drawn by a key, so that they have nothing to do with what the query is about.

    subkey(query) = HKDF-SHA256(key, salt = SHA-256(pool), info = "mergebarrier/watermark/v1/words/" + SHA-256(query))
    W(query)      = first m distinct words pool[SHA-256(subkey | i) mod size], i = 0, 1, .., that the query lacks
    commitment    = SHA-256(key | SHA-256(pool))

Whoever does not hold the key cannot tell W from any other draw, which makes the null of ``pairing`` exact.  The
commitment, published with a date before the service opens, lets a third party check later that the key was not chosen
after the answers had been read; 32 random bytes need no salt to stay secret.

Source: ours.  ModelShield (arXiv 2405.02365) lets the model choose, so its words follow the topic of the query.
"""

import hashlib
import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

from mergebarrier.keys import Key
from mergebarrier.watermark.score import found_words


def listed_words() -> tuple[str, ...]:
    """Return the pool that ships: rare but natural English words of 7 to 9 letters, none a form of a shorter one."""
    text = files(__package__).joinpath("words.json").read_text(encoding="utf-8")
    return tuple(json.loads(text))


def commitment(key: bytes, pool: Sequence[str]) -> str:
    """Return what is published before the key is used: 64 hex digits."""
    return hashlib.sha256(key + _pool_digest(pool)).hexdigest()


def _pool_digest(pool: Sequence[str]) -> bytes:
    return hashlib.sha256("\n".join(pool).encode()).digest()


@dataclass(frozen=True, kw_only=True)
class KeyedQuery:
    """A query as the key sees it: the same for every spelling of its spaces, case and composed letters.

    Attributes:
      digest: of its text, 64 hex digits.
      holds:  its own words.
    """

    digest: str
    holds: frozenset[str]

    @classmethod
    def of(cls, query: str) -> "KeyedQuery":
        """Take a query as the user asked it."""
        plain = " ".join(unicodedata.normalize("NFKC", query).casefold().split())
        return cls(digest=hashlib.sha256(plain.encode()).hexdigest(), holds=found_words(plain))


@dataclass(frozen=True, kw_only=True)
class WordKey:
    """A key and the pool that it draws from.

    Attributes:
      key:  32 secret bytes.
      pool: distinct words, case folded.
    """

    key: Key
    pool: tuple[str, ...]

    @cached_property
    def _salt(self) -> bytes:
        return _pool_digest(self.pool)

    def commitment(self) -> str:
        """Return what is published before the key is used."""
        return commitment(self.key.secret, self.pool)

    def words(self, query: KeyedQuery, count: int) -> tuple[str, ...]:
        """Return the words of a query, ``count`` of them unless it holds most of the pool itself."""
        subkey = self.key.subkey(self._salt, f"mergebarrier/watermark/v1/words/{query.digest}")
        drawn: dict[str, None] = {}
        for position in range(64 * count):
            block = hashlib.sha256(subkey + position.to_bytes(8, "little")).digest()
            word = self.pool[int.from_bytes(block, "little") % len(self.pool)]
            if word not in query.holds:
                drawn[word] = None
            if len(drawn) == count:
                break
        return tuple(drawn)
