"""``evaluate`` from Python and from the command line: the same report, as a document and as rows."""

import json
import sys
from pathlib import Path

import pytest

import mergebarrier as mb
import tiny_models
from mergebarrier.errors import BadTask, MissingExtra, UsageError
from scan_world import make_world, write_folder, write_task
from tiny_tokenizer import add_tokenizer


@pytest.fixture(scope="module")
def scored(tmp_path_factory) -> dict[str, Path]:
    """A tiny model of language with a task and a text of its own."""
    parent = tmp_path_factory.mktemp("evaluate")
    task, text = parent / "task.jsonl", parent / "text.txt"
    task.write_text("".join(json.dumps({"prompt": f"w{i}", "answer": "w1"}) + "\n" for i in range(5)))
    text.write_text("w1 w2 w3 w4 " * 10)
    return {"model": add_tokenizer(tiny_models.save("llama-mha-tied", parent / "model")), "task": task, "text": text}


def test_the_report_is_the_document_and_its_rows_are_the_tasks(scored, run_cli) -> None:
    report = mb.evaluate(scored["model"], tasks=[scored["task"]], text=scored["text"], max_items=4)
    words = ("--task", scored["task"], "--text", scored["text"], "--max-items", 4, "--json")
    assert run_cli("evaluate", scored["model"], *words).json == report.to_dict()
    [row] = report.rows()
    assert (row["task"], row["figure"], row["total"]) == (str(scored["task"]), "exact match", 4)
    assert report.text is not None and report.text.perplexity.tokens == 39


def test_an_opened_model_is_scored_under_its_name(scored) -> None:
    with mb.open_checkpoint(scored["model"]) as model:
        report = mb.evaluate(model, tasks=[scored["task"]])
    assert report.model == "model" and report.tasks[0].score.total == 5


def test_a_model_of_images_is_scored_on_pictures(tmp_path, run_cli) -> None:
    world = make_world()
    folder, task = write_folder(world.base, tmp_path / "base"), write_task(world, 0, tmp_path)
    report = mb.evaluate(folder, tasks=[task])
    assert report.dtype == "float32" and report.rows()[0]["figure"] == "accuracy"
    assert run_cli("evaluate", folder, "--task", task, "--json").json == report.to_dict()
    with pytest.raises(UsageError, match="mixed"):
        mb.evaluate(folder, tasks=[task, tmp_path / "task.jsonl"])


def test_nothing_to_measure_and_a_broken_task_are_refused(scored, tmp_path) -> None:
    with pytest.raises(UsageError, match="nothing to measure"):
        mb.evaluate(scored["model"])
    (tmp_path / "task.jsonl").write_text("{}\n")
    with pytest.raises(BadTask):
        mb.evaluate(tmp_path / "no model", tasks=[tmp_path / "task.jsonl"])


def test_without_pandas_the_refusal_says_what_to_install(scored, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    report = mb.evaluate(scored["model"], tasks=[scored["task"]])
    with pytest.raises(MissingExtra, match=r"pip install 'mergebarrier\[report\]'"):
        report.to_pandas()
