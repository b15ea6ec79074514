"""Samples and results of lm-evaluation-harness are rows of a task, or are refused with line and fault."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mergebarrier.errors import BadTask
from mergebarrier.evaluate import TaskRow, read_task


def sample(number: int, asked: list[tuple[Any, Any]], target: object, **more: object) -> dict[str, object]:
    """A line as lm-eval logs it."""
    requests = {f"gen_args_{place}": {"arg_0": one, "arg_1": two} for place, (one, two) in enumerate(asked)}
    return {
        "doc_id": number, "doc": {"question": "?", "nested": {"a": [1, None, 0.5]}}, "target": target,
        "arguments": requests, "resps": [[["-1.5", "False"]]], "filtered_resps": [["-1.5", "False"]],
        "filter": "none", "metrics": ["acc"], "doc_hash": "0", "prompt_hash": "0", "target_hash": "0", "acc": 1.0,
    } | more  # fmt: skip


CHOICES = sample(0, [("Two and two is", " three"), ("Two and two is", " four")], 1)
GENERATED = sample(1, [("Q: 2+2\nA:", {"until": ["\n"], "max_gen_toks": 8})], "4")
LISTED = sample(2, [], "0") | {"arguments": [["Sky is", " blue"], ["Sky is", " red"]]}
LAST_WORD = sample(3, [("The cat sat on the", " mat")], " mat")


def write(folder: Path, *samples: object, name: str = "samples_arith_2026-01-01T00-00-00.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(one) + "\n" for one in samples), encoding="utf-8")
    return path


def test_every_kind_of_question_is_a_row_and_filters_add_none(tmp_path: Path) -> None:
    path = write(tmp_path, CHOICES, GENERATED, GENERATED | {"filter": "flexible"}, LISTED, LAST_WORD)
    assert read_task(path).rows == (
        TaskRow("Two and two is", " four"), TaskRow("Q: 2+2\nA:", " 4"), TaskRow("Sky is", " blue"),
        TaskRow("The cat sat on the", " mat"),
    )  # fmt: skip


def test_the_shapes_of_other_versions_are_the_same_rows(tmp_path: Path) -> None:
    named = sample(0, [("Two and two is", " three"), ("Two and two is", " four")], "four")
    twice = sample(2, [("Sky is", " blue"), ("Sky is", " red"), ("", " blue"), ("", " red")], "0")
    listed = GENERATED | {"target": "['4']"}
    path = write(tmp_path, named, listed, twice, LAST_WORD)
    rows = read_task(path).rows
    assert rows == read_task(write(tmp_path, CHOICES, GENERATED, LISTED, LAST_WORD)).rows
    # Up to 0.4.2 all samples were one array; where the output is called NAME.json, results are not called results.
    path.write_text(json.dumps([named, listed, twice, LAST_WORD], indent=2))
    results = tmp_path / "my_run_2026-01-01T00-00-00.json"
    results.write_text(json.dumps({"results": {"arith": {}}}))
    assert read_task(path).rows == read_task(results).rows == rows
    path.write_text(json.dumps([named, 1]))
    with pytest.raises(BadTask, match="no samples"):
        read_task(path)


def test_results_lead_to_the_samples_of_their_one_task(tmp_path: Path) -> None:
    write(tmp_path, CHOICES)
    results = tmp_path / "results_2026-01-01T00-00-00.json"
    results.write_text(json.dumps({"results": {"arith": {"acc,none": 1.0, "acc_stderr,none": "N/A"}}}))
    assert read_task(results).rows == read_task(write(tmp_path, CHOICES)).rows
    results.write_text(json.dumps({"results": {"arith": {}, "other": {}, "../../etc/passwd": {}}}))
    write(tmp_path, CHOICES, name="samples_other_2026-01-01T00-00-00.jsonl")
    with pytest.raises(BadTask, match="holds 2 tasks"):
        read_task(results)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: sample(9, [("a", " b"), ("a", " c")], 2), "names none of 2"),
        (lambda: sample(9, [("a", " b"), ("a", " c")], "d"), "names none of 2"),
        (lambda: sample(9, [("a", " b"), ("a", "b")], "b"), "names none of 2"),
        (lambda: sample(9, [("a", {"until": []})], "['x', \"y's\"]"), "2 right answers"),
        (lambda: sample(9, [("a", {"until": []})], ["x", "y"]), "right answer"),
        (lambda: sample(9, [("a", {"until": []})], ""), "right answer"),
        (lambda: sample(9, [("a", None)], "b") | {"arguments": {"gen_args_0": {"arg_0": "a"}}, "target": 3}, "right"),
        (lambda: sample(9, [([{"role": "user"}], {})], "b"), "not texts"),
        (lambda: sample(9, [], "b") | {"arguments": [1, 2]}, "not texts"),
        (lambda: sample(9, [], "b") | {"arguments": {}}, "not texts"),
        (lambda: {"doc_id": 1, "prompt": "a"}, "not a sample"),
        (lambda: [1], "not a sample"),
    ],
)
def test_a_sample_without_a_right_answer_is_named_by_its_line(
    wrong: Callable[[], object], says: str, tmp_path: Path
) -> None:
    with pytest.raises(BadTask, match=says) as refused:
        read_task(write(tmp_path, CHOICES, wrong()))
    assert "line 2" in str(refused.value)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"doc_id": 1, "doc_id": 2, "arguments": [], "target": 0}', "twice"),
        (b'{"doc_id": 1, "arguments": ' + b"[" * 200 + b"]" * 200 + b', "target": 0}', "deeper"),
        (b'{"doc_id": 1, "arguments": [], "target": 1e999}', "float"),
        (b'{"doc_id": 1, "arguments": [], "target": "\\ud800"}', "surrogate"),
        (b'{"doc_id": 1, "arguments": [["a", "' + b"b" * 2**20 + b'"]], "target": 0}', "cap"),
    ],
)
def test_hostile_lines_are_refused_before_they_cost_anything(line: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_bytes(line + b"\n")
    with pytest.raises(BadTask, match=says):
        read_task(path)


@pytest.mark.parametrize("document", ["[]", "{}", '{"results": {}}', '{"results": {"absent": {}}}', "{"])
def test_a_json_file_that_is_no_results_of_the_harness_is_refused(document: str, tmp_path: Path) -> None:
    path = tmp_path / "results_2026.json"
    path.write_text(document)
    with pytest.raises(BadTask):
        read_task(path)
