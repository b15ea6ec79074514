"""What a model of ours was made from, out of its manifest, for the manifest of whatever is made from it next.

    made = {"verb", "method", "inputs": [{"role", "name", "licence", "content_digest", "made"}, ...]}

A merge keeps this of every input, so a manifest names all ancestors that were ever known, not only the parents.  All of
it came from folders of strangers: words are cut, and depth and number are bounded; what lies beyond is counted.
"""

from collections.abc import Mapping, Sequence
from typing import Final, cast

from mergebarrier.checkpoint import Checkpoint, read_manifest
from mergebarrier.checkpoint.files import Ancestor, Made
from mergebarrier.errors import CheckpointError, clean

MAX_DEPTH: Final = 16
MAX_ANCESTORS: Final = 512
_MAX_MANIFEST_BYTES: Final = 16 * 2**20
_WORDS: Final = ("role", "name", "licence", "content_digest")


def made_before(source: Checkpoint) -> dict[str, Made]:
    """Return {"made": how a model was made}, or nothing where its manifest is missing, broken or mute."""
    try:
        content = read_manifest(source.root, max_bytes=_MAX_MANIFEST_BYTES)["content"]
    except CheckpointError:
        return {}  # a broken manifest proves nothing; `verify` says what is wrong with it
    made = made_from(content)
    return {} if made is None else {"made": made}


def made_from(content: Mapping[str, object]) -> Made | None:
    """Return how a folder was made, from the content of its manifest; None where it says nothing.

    Example:
      >>> made_from({"verb": "protect", "method": "exact", "inputs": [{"role": "model", "content_digest": "ab"}]})
      {'verb': 'protect', 'method': 'exact', 'inputs': [{'role': 'model', 'content_digest': 'ab'}]}
    """
    return _Bounded().made(content, MAX_DEPTH)


class _Bounded:
    """Copies so many ancestors and no more."""

    def __init__(self) -> None:
        self._left = MAX_ANCESTORS

    def made(self, content: Mapping[str, object], depth: int) -> Made | None:
        inputs = content.get("inputs")
        if not isinstance(inputs, Sequence) or isinstance(inputs, str) or depth == 0:
            return None
        known = [item for item in inputs if isinstance(item, Mapping)]
        taken = known[: self._left]
        self._left -= len(taken)
        words = {name: clean(content[name]) for name in ("verb", "method") if isinstance(content.get(name), str)}
        ancestors = [self._ancestor(item, depth) for item in taken]
        more = len(inputs) - len(taken)
        return cast("Made", {**words, "inputs": ancestors, **({"left_out": more} if more else {})})

    def _ancestor(self, item: Mapping[str, object], depth: int) -> Ancestor:
        words = {name: clean(item[name]) for name in _WORDS if isinstance(item.get(name), str)}
        earlier = item.get("made")
        made = self.made(earlier, depth - 1) if isinstance(earlier, Mapping) else None
        return cast("Ancestor", {**words, **({"made": made} if made is not None else {})})
