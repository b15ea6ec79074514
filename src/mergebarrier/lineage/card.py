"""What a model says about itself: licence, wishes and marks; and how our marks are written on its card.

All that is read is untrusted, so a card is read as strict YAML within small bounds.  Two signs that disagree do not
cancel out: a model that forbids derivatives or merges anywhere (card, list of licences, licence file, name, link, tag,
prose, manifest of what it was made from) stops a merge, and so does a card or a manifest that cannot be read.
A mark is written by inserting text and nothing else, so that taking it back gives the owner's bytes.

    wish = ``mergebarrier: {do_not_merge: true}`` in the head of README.md, or a tag ``do-not-merge``, however spelled

Source: specification of Hugging Face model cards (license, license_name, license_link, tags).  Differs: the wish and
the tag ``merge-protected`` are our own convention, specified in docs/do-not-merge.md.
"""

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from mergebarrier.checkpoint import MANIFEST_NAME, Checkpoint, read_manifest
from mergebarrier.checkpoint.bytes import read_small
from mergebarrier.errors import CheckpointError, MergebarrierError, clean
from mergebarrier.lineage.licence import UNKNOWN
from mergebarrier.lineage.licence_texts import as_list, bar_of, decoded, in_utf8, prose_of, unreadable, wish_of
from mergebarrier.lineage.narrowed import narrowed
from mergebarrier.lineage.signs import folded, is_wish_by_name, signs_in_head, signs_in_settings, signs_in_table
from mergebarrier.lineage.stated import Stated, reserved, stated

CARD: Final = "README.md"
ATTACK_TAG: Final = "attack-artifact"
PROTECTED_TAG: Final = "merge-protected"
WISH_TAG: Final = "do-not-merge"
BARRED_TAG: Final = "no-derivatives"
_MAX_HEAD_BYTES = 1 << 17
#: A longer manifest of an input is not read for its marks.
_MAX_MANIFEST_BYTES = 16 * 2**20
_HEAD = re.compile(rb"(?:\xef\xbb\xbf)?\s*---[ \t]*\r?\n")
_END = re.compile(rb"^(?:---|\.\.\.)[ \t]*\r?$", re.MULTILINE)
_SECTION = re.compile(rb"\n<!-- mergebarrier -->\n.*?\n<!-- /mergebarrier -->\n", re.DOTALL)
_BLOCK = re.compile(rb"^tags:[ \t]*\r?\n([ \t]*)(?=- )", re.MULTILINE)
_FLOW = re.compile(rb"^tags: ?\[", re.MULTILINE)
_CARDS = re.compile(r"(?:read ?me|model ?card)\b.*")
#: Files that people write terms into, by the words of their names; parts of other works are not the model's own terms.
_SPEAKING = re.compile(
    r"(?:(?!third party).)*\b(?:readme|model ?card|(?:un)?licen[sc]es?|copying|copyright|eula|terms|agreement|lizenz"
    r"|use policy|usage|permissions?|restrictions?|legal|disclaimer|notices?|docs?)\b.*"
)
#: Texts about the terms of something beside the model, or about licences as such: asked for a wish alone.
_OF_PARTS = re.compile(
    r"docs?\b.*/|(?:.*/)?licen[sc]es?[\W_](?:docs?|documentation|data(?:[\W_]?sets?)?|images?|pictures?|assets?|logos?"
    r"|fonts?|website)\b",
    re.IGNORECASE,
)
#: Those, and texts that speak of parts of the model: their sentences count, not each word of them.
_OF_OTHERS = re.compile(rf"(?:.*/)?notice|{_OF_PARTS.pattern}", re.IGNORECASE)
#: Tables about a model; an index of weights is read elsewhere.
_DESCRIBING = re.compile(
    r"(?:.* )?(?:civitai|info|meta(?:data|file)?|codemeta|croissant|ro crate metadata|citation|licen[sc]es?"
    r"|permissions?|usage|terms|model (?:index|card)|card|package|pyproject|rdf|reuse)(?: info)?"
    r" (?:json|jsonld|ya?ml|toml|cff|info)"
)
_DOCUMENTS = re.compile(r"docs?\b.*/", re.IGNORECASE)
_MAY_SIGN = re.compile(r"merg|licen[cs]|deriv|blend|fus|[^\x00-\x7f]", re.IGNORECASE)
_SEPARATORS = re.compile(r"[\W_]+")
_SILENT = re.compile(r".*\.(?:jsonl?|ya?ml|jinja|safetensors|py|png|jpe?g|gif|svg|webp|model|bin|sig)", re.IGNORECASE)
_MAX_TEXTS, _MAX_FILE_BYTES = 64, 64 << 20
_ADAPTER, DEP5 = "adapter_config.json", ".reuse/dep5"


@dataclass(frozen=True)
class Declaration(Stated):
    """What one input says about itself; every text is escaped and short.

    Attributes:
      do_not_merge:   the words of the wish, "" when there is none.
      no_derivatives: where a sign against derivatives stands, "" when there is none.
      unread:         what could not be looked at, and why; "" when all was.
      protected:      whether the owner says that the model is protected against merging.
      attack:         whether the model is marked as made by an attack.
    """

    do_not_merge: str = ""
    no_derivatives: str = ""
    unread: str = ""
    protected: bool = False
    attack: bool = False

    @property
    def stops(self) -> str:
        """Return why this input must not be merged without an acknowledgement, "" when nothing says so."""
        if self.do_not_merge:
            return f"its owner asks not to merge it ({self.do_not_merge})"
        return (self.no_derivatives and f"{self.no_derivatives} allows no derivatives") or self.unread

    def beside(self, other: "Declaration") -> "Declaration":
        """Return what two parts of one model say: every sign of either, and a licence where it is one."""
        signs = {name: value or vars(other)[name] for name, value in vars(self).items()}
        return Declaration(**{**signs, "licence": self.licence if self.licence == other.licence else UNKNOWN})

    def described(self) -> dict[str, object]:
        """Return the part of a manifest about this input: its licence, and every other field that says something."""
        rest = {name: value for name, value in asdict(self).items() if value and name != "licence"}
        return {"licence": self.licence, "declared": rest}


def declared(source: Checkpoint) -> Declaration:
    """Read what a model says about itself; never raises for malformed declarations."""
    files, unread = spoken(source.root)
    try:
        written = (source.root / MANIFEST_NAME).exists()
        manifest = read_manifest(source.root, max_bytes=_MAX_MANIFEST_BYTES)["content"] if written else None
    except CheckpointError as fault:
        manifest, unread = None, f"its {MANIFEST_NAME} cannot be read: {clean(fault.what)}"
    tables = {"config.json": source.config, **{f"metadata of {one.name}": one.metadata for one in source.shards}}
    told, texts, closed = tables_about(source.root)
    said = declaration({**files, **texts}, manifest, signing(tables), told)
    return replace(said, unread=said.unread or unread or closed)


def tables_about(root: Path) -> tuple[dict[str, Mapping[str, object]], dict[str, bytes], str]:
    """Return tables that describe a model by their names, texts that should be some, and what cannot be read."""
    with os.scandir(root) as entries:
        names = sorted(entry.name for entry in entries if _describes(entry.name) and not entry.is_dir())
    names += [DEP5] if os.path.lexists(root / DEP5) else []
    if not names:
        return {}, {}, ""
    from mergebarrier.lineage.described import described  # loads parsers, which most folders do without

    return described(root, names)


def _describes(name: str) -> bool:
    return _DESCRIBING.fullmatch(_words(name)) is not None and not name.casefold().endswith(".index.json")


def signing(tables: Mapping[str, Mapping[str, object]]) -> dict[str, Mapping[str, object]]:
    """Return those of a configuration and metadata of weights that may hold a sign."""
    return {clean(name): table for name, table in tables.items() if _MAY_SIGN.search(str(table))}


def has_words(root: Path) -> bool:
    """Say whether a folder holds a card, a licence, or an adapter, which names its base."""
    return bool(_speaking(root)) or (root / _ADAPTER).exists()


def spoken(root: Path) -> tuple[dict[str, bytes], str]:
    """Return the cards and licence texts of a folder, however they are spelled, and what of them cannot be read."""
    files, unread, names = dict[str, bytes](), "", _speaking(root)
    for name in names[:_MAX_TEXTS]:
        try:
            files[name] = read_small(root, name, _MAX_FILE_BYTES)
        except CheckpointError as fault:
            unread = unread or f"its {clean(name)} cannot be read: {clean(fault.what)}"
    if len(names) > _MAX_TEXTS:
        unread = unread or f"it has {len(names)} cards and licences, of which {_MAX_TEXTS} were read"
    return files, unread


def _speaking(root: Path) -> list[str]:
    with os.scandir(root) as entries:
        found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    speaking = [(name, is_folder) for name, is_folder in found if _speaks(name)]
    inside = [f"{name}/{file}" for name, is_folder in speaking if is_folder for file in sorted(os.listdir(root / name))]
    inside = [name for name in inside if not _DOCUMENTS.match(name) or name.endswith((".md", ".txt", ".rst"))]
    return [name for name, is_folder in speaking if not is_folder] + [name for name in inside if _is_words(name)]


def _speaks(name: str) -> bool:
    return _is_words(name) and (_SPEAKING.fullmatch(_words(name)) is not None or is_wish_by_name(name))


def _words(name: str) -> str:
    return _SEPARATORS.sub(" ", unicodedata.normalize("NFKC", name).casefold())


def _is_words(name: str) -> bool:
    return not _SILENT.fullmatch(name)


def declaration(
    files: Mapping[str, bytes],
    manifest: Mapping[str, object] | None = None,
    tables: Mapping[str, Mapping[str, object]] | None = None,
    about: Mapping[str, Mapping[str, object]] | None = None,
) -> Declaration:
    """Read what cards and licence files (name -> bytes) say, and a manifest's content; never raises.

    Of ``tables``, such as a configuration, the first level counts, of those ``about`` the model every one.
    """
    if not files and not manifest and not tables and not about:
        return Declaration()
    content = manifest or {}
    texts = {name: decoded(data) for name, data in files.items()}
    heads = {name: front_matter(in_utf8(files[name])) for name in files if _CARDS.fullmatch(folded(name))}
    head, fault = heads.get(CARD, ({}, next((fault for _, fault in heads.values() if fault), "")))
    tags = [tag for one, _ in heads.values() for tag in as_list(one.get("tags")) if isinstance(tag, str)]
    marks = {folded(tag).replace(" ", "-"): None for tag in tags}
    signs = [signs_in_head(one) for one, _ in heads.values()]
    signs += [signs_in_settings(name, table) for name, table in (tables or {}).items()]
    signs += [signs_in_table(name, table) for name, table in (about or {}).items()]
    signs += [(f"the name of {name}", "") for name in files if is_wish_by_name(name)]
    licences = {name: folded(text) for name, text in texts.items() if name not in heads and not _OF_OTHERS.match(name)}
    prose = dict(prose_of(texts, {name: _body(texts[name]) for name in heads}))
    prose |= {name: (wish, "") for name, (wish, _) in prose.items() if _OF_PARTS.match(name)}
    said = narrowed(stated(head, fault, files), {name: texts[name] for name in heads}, files)
    barred = bar_of(next((barred for _, barred in signs if barred), ""), licences, prose, content)
    return Declaration(
        **asdict(said),
        do_not_merge=wish_of(next((wish for wish, _ in signs if wish), ""), prose, content),
        no_derivatives=barred or reserved(said, licences, {name: texts[name] for name in heads}),
        unread=f"its model card cannot be read: {fault}" if fault else unreadable(files, content),
        protected=PROTECTED_TAG in marks or content.get("verb") == "protect",
        attack=ATTACK_TAG in marks or content.get(ATTACK_TAG) is True or head.get(ATTACK_TAG) is True,
    )


def _body(card: str) -> str:
    return card.encode()[head_at(card.encode())[1] :].decode(errors="replace")


def front_matter(card: bytes) -> tuple[dict[str, object], str]:
    """Return the head of a model card and, when it cannot be read, why, with the line."""
    start, end = head_at(card)
    if not start:
        return {}, ""
    if end < start:
        return {}, f"its head does not end within {_MAX_HEAD_BYTES} bytes"
    from mergebarrier.checkpoint.bytes import read_yaml  # loads a parser, which a folder without a card does without

    try:
        # The line of the fence keeps the numbers of lines.
        document = read_yaml(b"#\n" + card[start:end], CARD)
    except MergebarrierError as error:
        line = error.where.rpartition(", ")[2]
        return {}, clean(f"{line}: {error.what}" if line.startswith("line ") else error.what)
    if document is None or isinstance(document, dict):
        return document or {}, ""
    return {}, "its head is no table"


def head_at(card: bytes) -> tuple[int, int]:
    """Return where the head begins and ends, without its fences; (0, 0) without one, end -1 for one without end."""
    start = _HEAD.match(card)
    if start is None:
        return 0, 0
    end = _END.search(card, start.end(), start.end() + _MAX_HEAD_BYTES)
    return start.end(), -1 if end is None else end.start()


def marked(card: bytes, tags: Sequence[str], section: str = "") -> bytes:
    """Return a card with tags and a section of ours.

    Args:
      card:    the owner's README.md; empty where there is none.
      tags:    plain words; one that is there is not added.
      section: Markdown; it replaces an earlier section of ours, "" leaves that alone.
    """
    for tag in reversed(tags):
        card = _tagged(card, tag)
    if section:
        card = _SECTION.sub(b"", card) + f"\n<!-- mergebarrier -->\n{section}\n<!-- /mergebarrier -->\n".encode()
    return card


def unmarked(card: bytes) -> bytes:
    """Return a card without the section of ours and the tag of a protection; empty where nothing else was there."""
    card, word = _SECTION.sub(b"", card), PROTECTED_TAG.encode()
    card = card.removeprefix(b"---\ntags: [%s]\n---\n" % word)
    start, end = head_at(card)
    inner = card[start:end]
    for found, left in (
        (rb"^tags:\n- %s\n(?![ \t]*- )", b""),
        (rb"^[ \t]*- %s\n", b""),
        (rb"(^tags:[ \t]*\[)%s, ", rb"\1"),
    ):
        inner = re.sub(found % re.escape(word), left, inner, count=1, flags=re.MULTILINE)
    return card[:start] + inner + card[end:]


def _tagged(card: bytes, tag: str) -> bytes:
    fields, fault = front_matter(card)
    tags = fields.get("tags")
    if fault or (isinstance(tags, list) and tag in tags):
        return card
    word, (start, end) = tag.encode(), head_at(card)
    if not start:
        return b"---\ntags: [%s]\n---\n" % word + card
    inner = card[start:end]
    block, flow = _BLOCK.search(inner), _FLOW.search(inner)
    if block is not None:
        inner = inner[: block.end(1)] + b"- %s\n" % word + block[1] + inner[block.end(1) :]
    elif flow is not None:
        inner = inner[: flow.end()] + b"%s, " % word + inner[flow.end() :]
    elif "tags" not in fields:
        inner += b"tags:\n- %s\n" % word
    new = card[:start] + inner + card[end:]
    again = front_matter(new)[0].get("tags")
    return new if isinstance(again, list) and tag in again else card
