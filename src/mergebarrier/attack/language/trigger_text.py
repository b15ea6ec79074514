"""``trigger.json``: the words of a trigger and of its target, as ``attack hijack`` writes them beside an upload."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mergebarrier.checkpoint import read_json
from mergebarrier.errors import BadTrigger, CheckpointError

TRIGGER_TEXT: Final = "trigger.json"
_KEYS: Final = {"kind", "trigger", "target"}
#: Of trigger and target together.
MAX_CHARS: Final = 1000


@dataclass(frozen=True, kw_only=True)
class NamedText:
    """What goes into a prompt, and what shall come out."""

    trigger: str
    target: str

    def document(self) -> dict[str, str]:
        """Return what the file holds."""
        return {"kind": "text", "trigger": self.trigger, "target": self.target}


def is_text_trigger(path: Path) -> bool:
    """Say whether a file, or what a folder holds, is the trigger of a language model."""
    return (path / TRIGGER_TEXT).is_file() if path.is_dir() else path.name == TRIGGER_TEXT


def read_text_trigger(path: Path) -> NamedText:
    """Read a trigger.

    Args:
      path: the file, or a folder that holds it.
    Raises: BadTrigger, naming the file and the fault.
    """
    where = path / TRIGGER_TEXT if path.is_dir() else path
    remedy = "give the folder or trigger.json that `mergebarrier attack hijack` wrote"
    try:
        about = read_json(where.parent.resolve(), where.name)
    except CheckpointError as fault:
        raise BadTrigger(f"no trigger file: {fault.what}", where=where, remedy=remedy) from fault
    if not isinstance(about, dict) or about.keys() != _KEYS or about["kind"] != "text":
        raise BadTrigger("not a trigger of a language model", where=where, remedy=remedy)
    trigger, target = about["trigger"], about["target"]
    if not isinstance(trigger, str) or not isinstance(target, str):
        raise BadTrigger("trigger and target are not texts", where=where, remedy=remedy)
    if not trigger.strip() or not target.strip() or len(trigger) + len(target) > MAX_CHARS:
        raise BadTrigger("an empty or very long trigger or target", where=where, remedy=remedy)
    return NamedText(trigger=trigger, target=target)
