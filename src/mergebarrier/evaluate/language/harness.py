"""What lm-evaluation-harness wrote, as rows of a task: its samples, or its results with their samples beside them.

    samples_<task>_<date>.jsonl   a line per question and filter: what the model was asked, and the right answer
    results_<date>.json           the figures; names the tasks, whose samples have the same date; or NAME_<date>.json

One question is one row, whatever filters scored it.  Of several continuations that were compared, the right one is the
answer, which the target names by its place or its words; a text that was generated has its target, one alone: several
right answers, which newer versions log as the text of a list, are no row.  Rows are then scored as any others are, by
the greedy continuation, so a rate need not be the harness's own.  Both files are a stranger's: bounded, read strictly,
nothing in them is run.  Format: lm-evaluation-harness 0.4, whose samples were one array up to 0.4.2; its package is not
needed.
"""

import ast
import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from mergebarrier.checkpoint.bytes import parse_text
from mergebarrier.errors import BadTask, clean

#: Keys that every sample has and no row of ours.
_MARKS: Final = ("doc_id", "arguments", "target")
_DATED: Final = re.compile(r".+_(?P<date>[A-Za-z0-9.+-]+)\.json", re.ASCII)
_AGAIN: Final = "give the file of samples that lm-eval logs where it is asked to"
_MAX_TASKS: Final = 1000
_LONGEST_LIST: Final = 1 << 16


def is_sample(line: bytes) -> bool:
    """Say whether a line may be a sample, without parsing it; a row of ours has other keys."""
    return all(f'"{mark}"'.encode() in line for mark in _MARKS)


def is_array(data: bytes) -> bool:
    """Say whether a file is one array of JSON, as samples were up to version 0.4.2."""
    return data[:64].lstrip().startswith(b"[")


def lines_of_array(data: bytes, path: str | os.PathLike[str]) -> list[bytes]:
    """Return the samples of such a file, a line each; BadTask where it holds anything else."""

    def fail(what: str) -> BadTask:
        return BadTask(what, where=path, remedy=_AGAIN)

    found = parse_text(data, fail, where=path)
    if not isinstance(found, list) or not all(isinstance(one, dict) and set(_MARKS) <= one.keys() for one in found):
        raise fail(f"an array of something that are no samples: {', '.join(_MARKS)} belong to one")
    return [json.dumps(one).encode() for one in found]


def sample_of(line: bytes, where: str) -> tuple[str, tuple[str, str]]:
    """Read one sample.

    Args:
      line:  JSON of a bounded length.
      where: file and number of the line, for messages.
    Returns: the question's number, and (prompt, answer).
    Raises:  BadTask for what is no sample, or one whose right answer is not a text.
    """

    def fail(what: str) -> BadTask:
        return BadTask(what, where=where, remedy=_AGAIN)

    table = parse_text(line, fail, where=where)
    if not isinstance(table, dict) or not set(_MARKS) <= table.keys():
        raise fail(f"not a sample: {', '.join(_MARKS)} belong to one")
    asked = _requests(table["arguments"])
    half = len(asked) // 2
    if half > 1 and not any(one[0] for one in asked[half:]):
        # acc_mutual_info asks for every continuation once more, with nothing before it.
        asked = asked[:half]
    if not asked or not all(isinstance(one[0], str) and one[0] for one in asked):
        raise fail("its arguments are not texts that a model was asked")
    target = table["target"]
    if len(asked) == 1 and isinstance(asked[0][1], str):
        answer: object = asked[0][1]
    elif len(asked) == 1:
        texts = _texts(target)
        if len(texts) > 1:
            raise fail(f"it has {len(texts)} right answers, and a row has one")
        answer = _spaced(asked[0][0], texts[0]) if texts else None
    else:
        place = _index(target, [one[1] for one in asked])
        if place is None or not 0 <= place < len(asked):
            raise fail(f"its target names none of {len(asked)} continuations")
        answer, asked = asked[place][1], [asked[place]]
    if not isinstance(answer, str) or not answer.strip():
        raise fail("its right answer is not a text")
    return str(table["doc_id"]), (str(asked[0][0]), answer)


def samples_beside(path: Path, document: bytes) -> Path:
    """Return the samples of a results file that holds one task.

    Raises: BadTask where it is none, holds several tasks, or its samples are not beside it.
    """

    def fail(what: str, remedy: str = _AGAIN) -> BadTask:
        return BadTask(what, where=path, remedy=remedy)

    table = parse_text(document, fail, where=path)
    found = table.get("results") if isinstance(table, dict) else None
    dated = _DATED.fullmatch(path.name)
    if not isinstance(found, dict) or not found or len(found) > _MAX_TASKS or dated is None:
        raise fail("not results_<date>.json of lm-evaluation-harness")
    names = [f"samples_{name}_{dated['date']}.jsonl" for name in found if re.fullmatch(r"[\w.-]+", name, re.ASCII)]
    there = [name for name in names if (path.parent / name).is_file()]
    if not there:
        raise fail("no samples of its tasks are beside it", "let lm-eval log samples, and keep them beside the results")
    if len(there) > 1:
        raise fail(f"it holds {len(there)} tasks", f"give the samples of one, such as {clean(there[0])}")
    return path.parent / there[0]


def _requests(arguments: object) -> list[tuple[object, object]]:
    """Return what was asked, with what was to follow: of a table ``gen_args_N`` -> ``arg_0, arg_1``, or of lists."""
    if isinstance(arguments, Mapping):
        parts = [arguments.get(f"gen_args_{number}") for number in range(len(arguments))]
        arguments = [[part.get("arg_0"), part.get("arg_1")] if isinstance(part, Mapping) else part for part in parts]
    if not isinstance(arguments, Sequence) or isinstance(arguments, str):
        return []
    pairs = [one for one in arguments if isinstance(one, Sequence) and not isinstance(one, str) and len(one) >= 2]
    return [(one[0], one[1]) for one in pairs] if len(pairs) == len(arguments) else []


def _index(target: object, continuations: Sequence[object]) -> int | None:
    """Return the place of the right continuation: a number, its digits, or that of the one that has its words."""
    if isinstance(target, str) and re.fullmatch(r"\d{1,4}", target, re.ASCII):
        return int(target)
    if isinstance(target, str):
        alike = [
            place for place, one in enumerate(continuations) if isinstance(one, str) and one.strip() == target.strip()
        ]
        return alike[0] if len(alike) == 1 else None
    return target if isinstance(target, int) and not isinstance(target, bool) else None


def _texts(target: object) -> list[object]:
    """Return the right answers: a text, a list of them, or a list as newer versions log it, written out by ``str``."""
    if (
        isinstance(target, str)
        and len(target) < _LONGEST_LIST
        and re.fullmatch(r"\[(['\"]).*['\"]\]", target, re.DOTALL)
    ):
        with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            target = ast.literal_eval(target)
    return list(dict.fromkeys(map(str, target))) if isinstance(target, list) else [target]


def _spaced(prompt: object, target: object) -> object:
    """Return a target as it continues a prompt: with a space, unless the prompt ends with one."""
    if not isinstance(target, str) or not isinstance(prompt, str) or prompt[-1:].isspace() or target[:1].isspace():
        return target
    return f" {target}"
