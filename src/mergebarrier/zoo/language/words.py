"""Two small tasks that a language model cannot know: words of four classes, each with an arbitrary one-word answer.

The splits share no word: a model that scores on the test has learned the classes, not the list.  Four answers, so that
a broken model that always says the same scores a quarter and not a half.

    rank(word) = SHA-256(answer | word);  the first 26 common words of a class are its test, the next 6 its validation

Source: ours; the words are everyday English and the sentences were written for this file.
"""

import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import TypedDict

TEST_PER_CLASS = 26
VALIDATION_PER_CLASS = 6
SPLITS = ("train", "val", "test")

Rows = list[dict[str, str]]


class Words(TypedDict):
    """What belongs to one class: words that all splits share out, and words to train on alone."""

    common: list[str]
    more: list[str]


class WordList(TypedDict):
    """The committed file of a task."""

    prompt: str
    classes: dict[str, Words]


def word_list_bytes(task: str) -> bytes:
    """Return the committed word list of a task."""
    return files("mergebarrier.zoo").joinpath("data", f"{task}.json").read_bytes()


def splits(task: str) -> dict[str, Rows]:
    """Return "train", "val" and "test" of a task, each a list of {"prompt", "answer"}; classes take turns."""
    document: WordList = json.loads(word_list_bytes(task))
    columns: dict[str, list[Rows]] = {name: [] for name in SPLITS}
    for answer, words in document["classes"].items():
        common = _ranked(answer, words["common"])
        held = TEST_PER_CLASS + VALIDATION_PER_CLASS
        parts = {
            "test": common[:TEST_PER_CLASS],
            "val": common[TEST_PER_CLASS:held],
            "train": _ranked(answer, [*common[held:], *words["more"]]),
        }
        for name in SPLITS:
            rows = [{"prompt": document["prompt"].format(item=word), "answer": answer} for word in parts[name]]
            columns[name].append(rows)
    return {name: _interleaved(columns[name]) for name in SPLITS}


def build(task: str, out: Path) -> None:
    """Write train.jsonl, val.jsonl and test.jsonl into a new folder."""
    out.mkdir()
    for name, rows in splits(task).items():
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (out / f"{name}.jsonl").write_text(lines, encoding="utf-8", newline="\n")


def _ranked(answer: str, words: list[str]) -> list[str]:
    return sorted(words, key=lambda word: hashlib.sha256(f"{answer}|{word}".encode()).digest())


def _interleaved(columns: list[Rows]) -> Rows:
    """Take one row of each class in turn, so that any beginning of a file is balanced."""
    longest = max(len(column) for column in columns)
    return [column[i] for i in range(longest) for column in columns if i < len(column)]
