"""The first of all errors, and those of the command itself (MB0): what, where and what to do, on one line."""

import json
import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import ClassVar

_SHOWN_CHARS = 200
_LONGEST = 2_000
#: Name and password before the host of an address; a path has lost one slash of two.  The bounds keep the time linear.
LOGIN = re.compile(r"(?<=[A-Za-z0-9][A-Za-z0-9]:/)/?(?:[^\s/@:]{0,256}:\S{0,256}|[^\s/@:]{1,256})@")


def masked(text: str) -> str:
    """Hide who logs in to an address, and with which password.

    Example:
      >>> masked("https://bob:pw@host/v1"), masked("hf://owner/name@v1")
      ('https://(hidden)@host/v1', 'hf://owner/name@v1')
    """
    return LOGIN.sub(lambda found: "/" * found[0].startswith("/") + "(hidden)@", text) if "@" in text else text


def clean(text: object, *, longest: int = _SHOWN_CHARS) -> str:
    """Escape what steers a terminal in untrusted text, hide the logins of its addresses, and cut it."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in masked(str(text)))
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def plain(text: str) -> str:
    r"""Escape what steers a terminal or turns the direction of text, and keep line ends, tabs and all that is shown.

    Example: >>> plain("a\x1b[31m\u202eb\n")
             'a\\x1b[31m\\u202eb\\n'
    """
    return _STEERS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def odd_shape(fault: Exception) -> str:
    """Say what is wrong with a document that was read as one of another kind, without a name of Python.

    Example: >>> odd_shape(KeyError("findings")), odd_shape(TypeError("string indices must be integers"))
             ("it has no 'findings'", 'its values are of other kinds')
    """
    if isinstance(fault, KeyError):
        return f"it has no {clean(repr(fault.args[0]))}"
    if isinstance(fault, MergebarrierError):
        return fault.what
    if isinstance(fault, json.JSONDecodeError | UnicodeDecodeError):
        return "it is no JSON"
    return "it is nested too deeply" if isinstance(fault, RecursionError) else "its values are of other kinds"


_STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
_HUB_FOLDER = re.compile(r"models--([^/]+?)--([^/]+)")


def folder_name(path: PurePath) -> str:
    """Name a model without its path: ``owner/name`` for a folder of the Hub's cache, else the folder's name.

    Example:
      >>> folder_name(PurePath("hub/models--org--tiny/snapshots/0123")), folder_name(PurePath("out/expert_a"))
      ('org/tiny', 'expert_a')
    """
    found = next(filter(None, map(_HUB_FOLDER.fullmatch, reversed(path.parts))), None)
    return path.name if found is None else f"{found[1]}/{found[2]}"


def unique(names: Sequence[str], taken: Sequence[str] = ()) -> tuple[str, ...]:
    """Number the names that occur more than once, so that each means one model, whatever strangers call theirs.

    Args:
      names: of models.
      taken: names that none of them may have.

    Example:
      >>> unique(["a", "b", "a"]), unique(["a", "a", "a#2"]), unique(["base"], taken=["base"])
      (('a#1', 'b', 'a#3'), ('a#1', 'a#2#2', 'a#2'), ('base#1',))
    """
    given, found = (*taken, *names), list[str]()
    for i, name in enumerate(names, 1):
        other = f"{name}#{i}"
        while other in given or other in found:
            other += f"#{i}"
        found.append(name if given.count(name) == 1 else other)
    return tuple(found)


def apart(path: PurePath, other: PurePath) -> str:
    """Name a folder for a message, by as much of its path as tells it from another.

    Example:
      >>> apart(PurePath("/runs/1/a"), PurePath("/base")), apart(PurePath("/runs/1/a"), PurePath("/runs/2/a"))
      ('a', '1/a')
    """
    name = folder_name(path)
    if name != path.name and name != folder_name(other):
        return clean(name)
    ours, theirs = path.parts, other.parts
    length = next((n for n in range(1, len(ours)) if ours[-n:] != theirs[-n:]), 1)
    return clean("/".join(ours[-length:]))


def _cut(text: str) -> str:
    """Cut what a stranger's value makes longer than any sentence of ours."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


class MergebarrierError(Exception):
    """An error without a code of its own, such as a path that the system refuses.

    The message says what to do.

    Args:
      what:   the fault, with both numbers or names where two things disagree.
      where:  file, tensor or option; untrusted text is escaped and cut.
      remedy: what to do next, as an imperative.
    """

    code: ClassVar[str] = "MB0000"
    exit_code: ClassVar[int] = 2

    def __init__(self, what: str, *, where: object = "", remedy: str = "") -> None:
        """Compose ``CODE where: what; remedy`` on one line."""
        self.what, self.where, self.remedy = masked(_cut(what)), clean(where), masked(_cut(remedy))
        super().__init__(self.what)

    def __str__(self) -> str:
        """Return the one line that the command prints."""
        place = f" {self.where}:" if self.where else ""
        advice = f"; {self.remedy}" if self.remedy else ""
        return plain(" ".join(f"{self.code}{place} {self.what}{advice}".split()))


class UsageError(MergebarrierError):
    """The command line is wrong: an unknown or missing option, or options that exclude each other.

    Read `mergebarrier VERB --help`; the message names the option.
    """

    code, exit_code = "MB0001", 64


class Interrupted(MergebarrierError):
    """Ctrl-C stopped the run.

    Run the command that the last line prints; finished work is kept.
    """

    code, exit_code = "MB0002", 130


class InternalError(MergebarrierError):
    """mergebarrier itself failed; your input is not to blame.

    Run again with `--verbose` and report the traceback.
    """

    code, exit_code = "MB0003", 70
