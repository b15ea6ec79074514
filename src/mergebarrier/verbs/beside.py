"""Look at everything in the folder of an upload: walk it, read first bytes, hand pickles to picklescan.

    entry -> kind -> finding;   at most 64 pickles are open at once;   no file stops the next one

A file that was not looked at is a finding of its own, so a scan that finds nothing has looked.
"""

import hashlib
import os
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from mergebarrier.checkpoint import ATTACHMENTS, FolderEntry, modeling_code, open_regular, read_head, read_small, walk
from mergebarrier.errors import BadTask, MergebarrierError, NotACheckpoint, clean
from mergebarrier.pickled import holds_encoded
from mergebarrier.published import MODELING
from mergebarrier.scan import (
    HEAD_BYTES,
    REFUSED,
    Finding,
    contents,
    has_lines,
    has_templates,
    imports_of,
    in_utf8,
    is_structured,
    kind_of,
    may_be_old_pickle,
    odd_entry,
    of_beginning,
    of_kind,
    of_members,
    of_other_weights,
    of_pickle,
    of_text,
    of_zip,
    refusal,
    runs,
    unseen,
)

_OPEN_AT_ONCE: Final = 64
_MOST_TEXT_BYTES: Final = 16 << 20
#: First bytes of weights of another format, which hold their vocabulary.
_MOST_HEADER_BYTES: Final = 32 << 20
#: Bytes of the files of one folder whose digests are taken; longer ones have none, and no baseline knows them.
_MOST_HASHED_BYTES: Final = 1 << 30
#: Rules about files that may run code or name it, however they are described.
_MAY_HOLD_CODE: Final = ("MB7106", "MB7107", "MB7108", "MB7109", "MB7110")
#: Texts that may run something, by the end of the name.
_MAY_RUN: Final = tuple(
    ".html .htm .xhtml .mhtml .svg .xml .csv .tsv .pth .yaml .yml package.json "
    ".git/config .config.worktree .gitconfig".split()
)


@dataclass(frozen=True)
class _Suspect:
    """A file for picklescan: how to look at it, whether it claims to be a pickle, and whether it is known as broken."""

    file: str
    look: str
    sure: bool
    broken: bool = False


def guarded(
    model: str, what: str, work: Callable[[], object], *, asked: tuple[type[MergebarrierError], ...] = (BadTask,)
) -> Finding | None:
    """Run ``work``; whatever a stranger's bytes do to it becomes a finding, and the next piece of work can begin.

    Raises: what is among ``asked``: then the request is wrong, and nothing that a stranger wrote.
    """
    try:
        work()
    except asked:
        raise
    except NotACheckpoint as error:
        return unseen(model, what, str(error))
    except MergebarrierError as error:
        return refusal(model, error, what)
    except MemoryError:
        return unseen(model, what, "out of memory")
    except Exception as error:
        return unseen(model, what, f"{type(error).__name__}: {clean(error)}")
    return None


def look_beside(model: str, root: Path, listed: Collection[str]) -> Iterator[Finding]:
    """Yield what the files of a folder show.

    Args:
      model:  its name in findings.
      root:   the folder, resolved.
      listed: weight files that the strict reader has read.
    """
    suspects: list[_Suspect] = []
    identified = Identified(root)
    for entry in walk(root):
        found: list[Finding] = []

        def work(entry: FolderEntry = entry, found: list[Finding] = found) -> None:
            found += _look_at(model, root, entry, listed, suspects)

        fault = guarded(model, entry.name, work)
        yield from (identified.told(one, entry.name) for one in found)
        if fault is not None:
            yield fault
    for start in range(0, len(suspects), _OPEN_AT_ONCE):
        for file, one in _look_into(model, root, suspects[start : start + _OPEN_AT_ONCE]):
            yield identified.told(one, file)


class Identified:
    """Adds to findings the digests of files that may hold code, so that a changed one is news."""

    def __init__(self, root: Path) -> None:
        """Take a folder, resolved."""
        self._root = root
        self._left = _MOST_HASHED_BYTES
        self._found: dict[str, str | None] = {}

    def told(self, found: Finding, file: str) -> Finding:
        """Return a finding with the digest of the file; of one that cannot be read, or is long, with None."""
        refused = found.rule == REFUSED and found.severity == "critical"
        if not (refused or found.rule in _MAY_HOLD_CODE) or found.severity == "low" or not file:
            return found
        if file not in self._found:
            self._found[file] = self._digest(file)
        return replace(found, evidence={**found.evidence, "sha256": self._found[file]})

    def _digest(self, file: str) -> str | None:
        try:
            fd, _ = open_regular(self._root, file)
        except MergebarrierError:
            return None
        with closing(os.fdopen(fd, "rb")) as data:
            size = os.fstat(fd).st_size
            if size > self._left:
                return None
            self._left -= size
            return hashlib.file_digest(data, "sha256").hexdigest()


def _look_at(
    model: str, root: Path, entry: FolderEntry, listed: Collection[str], suspects: list[_Suspect]
) -> Iterator[Finding]:
    name = entry.name
    if entry.kind == "unread":
        yield unseen(model, name, "the folder is too deep, too full, or closed to us")
        return
    if entry.kind == "special":
        yield odd_entry(model, name, "a pipe, a socket or a device", leads_out=False)
        return
    if name in listed or _is_ours(root, entry):
        return
    try:
        head = read_head(root, name, HEAD_BYTES)
    except MergebarrierError as error:
        if entry.kind == "link":
            target = os.readlink(root / name)
            yield odd_entry(model, name, error.what, leads_out="leads out" in error.what, target=target)
            return
        raise
    kind = kind_of(name, head)
    if kind in ("pickle", "numpy", "zip", "archive"):
        suspects.append(_Suspect(name, kind, kind in ("pickle", "numpy")))
    elif _hides_zip(root, name):
        suspects.append(_Suspect(name, "zip", False))
        yield from filter(None, [of_kind(model, name, "archive")])
    elif kind == "unknown" or may_be_old_pickle(head, entry.size_bytes) or (kind == "text" and b"\x00" in head):
        suspects.append(_Suspect(name, "pickle", False))
    if kind == "text" and holds_encoded(read_head(root, name, _MOST_TEXT_BYTES)):
        suspects.append(_Suspect(name, "text", False))
    if kind == "zip":
        yield from _look_at_zip(model, root, name, suspects)
    elif kind in ("text", "media") and _may_run(name, in_utf8(head)):
        if runs(name, in_utf8(read_head(root, name, _MOST_TEXT_BYTES))):
            yield from filter(None, [of_kind(model, name, "page")])
        elif is_structured(name):
            yield from _look_at_text(model, root, name)
    elif kind in ("text", "unknown") and (has_templates(name) or is_structured(name)):
        yield from filter(None, [of_kind(model, name, kind)])
        yield from _look_at_text(model, root, name)
    else:
        if kind == "weights":
            yield from of_other_weights(model, name, read_head(root, name, _MOST_HEADER_BYTES))
        found = of_kind(model, name, kind)
        if found is not None and name not in ATTACHMENTS:  # they are of an attack artefact, which is told as that
            yield found


def _may_run(name: str, head: bytes) -> bool:
    listed = name.lower().endswith(_MAY_RUN) or name.rpartition("/")[2].startswith("requirements")
    return listed or head.startswith(b"%PDF") or head.lstrip()[:1] == b"<"


def _look_at_text(model: str, root: Path, name: str) -> Iterator[Finding]:
    if has_lines(name):
        data = read_head(root, name, _MOST_TEXT_BYTES + 1)
        if len(data) > _MOST_TEXT_BYTES:
            yield of_beginning(model, name, _MOST_TEXT_BYTES)
    else:
        data = read_small(root, name, _MOST_TEXT_BYTES)
    yield from of_text(model, name, in_utf8(data).decode("utf-8", "replace"))


def _hides_zip(root: Path, name: str) -> bool:
    """Say whether a zip file stands behind something else, where readers of archives find it."""
    fd, _ = open_regular(root, name)
    with closing(os.fdopen(fd, "rb")) as file:
        return zipfile.is_zipfile(file)


def _is_ours(root: Path, entry: FolderEntry) -> bool:
    """Whether a file is the code of our own class, byte for byte."""
    code = modeling_code()
    return entry.name == MODELING and entry.kind == "file" and read_head(root, entry.name, len(code) + 1) == code


def _look_at_zip(model: str, root: Path, name: str, suspects: list[_Suspect]) -> Iterator[Finding]:
    fd, _ = open_regular(root, name)
    with closing(os.fdopen(fd, "rb")) as file:
        table = contents(file, os.fstat(fd).st_size)
    if table.pickle and not table.problem:
        suspects[-1] = _Suspect(name, "zip", True)
    elif table.problem:
        suspects[-1] = _Suspect(name, "zip", False, broken=True)
    if not table.pickle or table.problem or table.outside or table.bomb or table.program:
        yield of_zip(model, name, table)


def _look_into(model: str, root: Path, suspects: list[_Suspect]) -> Iterator[tuple[str, Finding]]:
    with ExitStack() as stack:
        opened = []
        for suspect in suspects:
            fd, _ = open_regular(root, suspect.file)
            stack.callback(os.close, fd)
            opened.append((fd, suspect.look))
        imports = imports_of(opened)
    for suspect, found in zip(suspects, imports, strict=True):
        packed = suspect.look in ("zip", "archive") and not suspect.broken
        encoded = suspect.look == "text"
        said = of_pickle(model, suspect.file, found, sure=suspect.sure, packed=packed, encoded=encoded)
        if said is not None:
            yield suspect.file, said
        for one in of_members(model, suspect.file, found):
            yield suspect.file, one
