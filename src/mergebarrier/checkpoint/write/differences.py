"""In what two plans differ, in a few words: what is read when an unfinished run is asked to go on as another one.

    {"plan": {"parameters": {"steps": 60}}},  {"plan": {"parameters": {"steps": 61}}}   ->   "steps 60 (here 61)"

Whatever decides whether a partial output may be taken over is the whole document; this only says which part it was.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from mergebarrier.checkpoint.bytes import parse_text
from mergebarrier.errors import BadManifest

_MOST, _LONG = 3, 40
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
#: Levels of a plan that are named by what they hold.
_PLAIN: Final = frozenset({"plan", "parameters", "data_sha256"})
#: What follows from something else, and is named where nothing else differs.
_LAST: Final = ("layout", "hashing")


def differences(begun: bytes, asked: bytes) -> str:
    """Return what the document of an unfinished run says otherwise than the one that is asked for.

    Args:
      begun: bytes of its plan, as they were found; nothing is said of what is no plan.
      asked: bytes of the plan of this run.
    """
    try:
        found, wanted = (parse_text(one, BadManifest, where="a plan") for one in (begun, asked))
        for kept in ([key for key in wanted if key not in _LAST], _LAST):
            said = list(dict.fromkeys(_walk("", *({key: one.get(key) for key in kept} for one in (found, wanted)))))
            if said:
                return ", ".join([*said[:_MOST], *(["and more"] if len(said) > _MOST else [])])
    except (BadManifest, ValueError, KeyError, TypeError, AttributeError):
        pass
    return ""


def _walk(name: str, found: object, wanted: object) -> Iterator[str]:
    """Yield what differs below a name, in the order of the plan."""
    if found == wanted:
        return
    if name == "inputs":
        yield from _inputs(found, wanted)
    elif isinstance(found, dict) and isinstance(wanted, dict):
        for key in dict.fromkeys([*wanted, *found]):
            below = key if name in _PLAIN or not name else f"{name} {key}"
            yield from _walk(below, found.get(key), wanted.get(key))
    elif name in _LAST or any(isinstance(one, dict | list) or _hidden(one) for one in (found, wanted)):
        yield f"other {name.replace('_', '-')}"
    else:
        yield f"{name.replace('_', '-')} {_shown(found)} (here {_shown(wanted)})"


def _inputs(found: Any, wanted: Any) -> Iterator[str]:
    """Yield the roles whose weights differ."""
    begun, asked = ({(one["role"], one["content_digest"]) for one in inputs} for inputs in (found, wanted))
    yield from (f"another {role}" for role in sorted({role for role, _ in begun ^ asked} or {"input"}))


def _hidden(value: object) -> bool:
    return isinstance(value, str) and (len(value) > _LONG or bool(_DIGEST.fullmatch(value)))


def _shown(value: object) -> str:
    return "not given" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
