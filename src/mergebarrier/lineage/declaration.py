"""What the folder of a model says about itself: licence, do-not-merge wish, marks of protection and of an attack.

Everything here is untrusted, so a card is read as strict YAML within small bounds, and one that breaks
them says nothing: its licence is "unknown" and the reason is kept. A card and a LICENSE file that name different
licences are "unknown" too.

    wish = ``mergebarrier: {do_not_merge: true}`` in the head of README.md, or a tag ``no-merge`` or ``do-not-merge``

Source: the model-card convention of the Hugging Face Hub (license, license_name, license_link, tags). Differs: the wish
and the tag ``merge-protected`` are our own convention; no other merge tool has one to respect.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from mergebarrier.checkpoint import LICENCE_FILES
from mergebarrier.checkpoint.bytes import read_yaml
from mergebarrier.errors import MergebarrierError, clean
from mergebarrier.lineage.licence import UNKNOWN, allows_derivatives, known
from mergebarrier.lineage.licence_texts import identify

CARD: Final = "README.md"
ATTACK_TAG: Final = "attack-artifact"
PROTECTED_TAG: Final = "merge-protected"
WISH_TAGS: Final = ("no-merge", "do-not-merge")

_MAX_HEAD_BYTES = 1 << 17
_HEAD = re.compile(rb"(?:\xef\xbb\xbf)?---[ \t]*\r?\n")
_END = re.compile(rb"^(?:---|\.\.\.)[ \t]*\r?$", re.MULTILINE)


@dataclass(frozen=True)
class Declaration:
    """What one input says about itself; every text is escaped and short.

    Attributes:
      licence:      identifier of ``licence.KINDS``, or "unknown".
      written:      the card's ``license``, else the name of the file that it was read from; "" for neither.
      name:         ``license_name``.
      link:         ``license_link``.
      reason:       why the licence is unknown; "" when it is known.
      do_not_merge: the words of the wish, "" when there is none.
      protected:    whether the owner says that the model is protected against merging.
      attack:       whether the model is marked as made by an attack.
    """

    licence: str = UNKNOWN
    written: str = ""
    name: str = ""
    link: str = ""
    reason: str = "there is neither a model card with a licence nor a licence file"
    do_not_merge: str = ""
    protected: bool = False
    attack: bool = False

    @property
    def stops(self) -> str:
        """Return why this input must not be merged without an acknowledgement, "" when nothing says so."""
        if self.do_not_merge:
            return f"its owner asks not to merge it ({self.do_not_merge})"
        return "" if allows_derivatives(self.licence) else f"its licence {self.licence} allows no derivatives"


def declaration(files: Mapping[str, bytes], manifest: Mapping[str, object] | None = None) -> Declaration:
    """Read what a model says about itself.

    Args:
      files:    name -> bytes of its README.md and licence files, those that it has.
      manifest: content of its ``mergebarrier.json``, where there is one.
    Returns: Declaration; never raises for malformed declarations.
    """
    head, fault = _front_matter(files.get(CARD, b""))
    said = _licence(head, fault, files)
    tags = [tag for tag in _list(head.get("tags")) if isinstance(tag, str)]
    marks = {tag.strip().lower(): None for tag in tags}
    ours = head.get("mergebarrier")
    table = ours if isinstance(ours, dict) else {}
    wish = next((f"tag {tag}" for tag in WISH_TAGS if tag in marks), "")
    if table.get("do_not_merge") not in (None, False):
        wish = "mergebarrier.do_not_merge"
    content = manifest or {}
    attack = ATTACK_TAG in marks or content.get(ATTACK_TAG) is True or head.get(ATTACK_TAG) is True
    protected = PROTECTED_TAG in marks or content.get("verb") == "protect"
    return replace(said, do_not_merge=wish, protected=protected, attack=attack)


def _licence(head: Mapping[str, object], fault: str, files: Mapping[str, bytes]) -> Declaration:
    written = _list(head.get("license"))
    name, link = (clean(head.get(key) or "") for key in ("license_name", "license_link"))
    file = next((file for file in LICENCE_FILES if file in files), None)
    by_text = identify(files[file]) if file is not None else UNKNOWN
    if fault:
        return Declaration(reason=f"its model card cannot be read: {fault}", written=file or "")
    if len(written) > 1:
        listed = clean(", ".join(map(str, written)))
        return Declaration(UNKNOWN, listed, name, link, f"its card names several licences: {listed}")
    said = clean(written[0]) if written else ""
    by_card = known(said)
    if by_card == UNKNOWN and name:
        by_card = known(name)
    if UNKNOWN not in (by_card, by_text) and not _agree(by_card, by_text):
        reason = f"its card says {by_card}, its {file} reads {by_text}"
        return Declaration(UNKNOWN, said, name, link, reason)
    licence = by_card if by_card != UNKNOWN else by_text
    if licence == UNKNOWN:
        reason = Declaration().reason
        if said or name:
            reason = f"its licence {said}{f' ({name})' if name else ''} is not in the table"
        elif file is not None:
            reason = f"its {file} is none of the texts that are known"
        return Declaration(UNKNOWN, said or file or "", name, link, reason)
    return Declaration(licence, said or file or "", name, link, "")


def _agree(by_card: str, by_text: str) -> bool:
    """Say whether two identifiers may mean one text: the same, or a family and a member of it."""
    return by_card == by_text or (by_card == "openrail" and "rail" in by_text)


def _front_matter(card: bytes) -> tuple[dict[str, object], str]:
    """Return the head of a model card and, when it cannot be read, why."""
    start = _HEAD.match(card)
    if start is None:
        return {}, ""
    end = _END.search(card, start.end(), start.end() + _MAX_HEAD_BYTES)
    if end is None:
        return {}, f"its head does not end within {_MAX_HEAD_BYTES} bytes"
    try:
        document = read_yaml(card[start.end() : end.start()], CARD)
    except MergebarrierError as error:
        return {}, clean(error.what)
    if document is None or isinstance(document, dict):
        return document or {}, ""
    return {}, "its head is no table"


def _list(value: object) -> list[object]:
    return [] if value is None else value if isinstance(value, list) else [value]
