"""``mergebarrier evaluate`` prints figures with their intervals, or one line and no figure."""

import json

from mergebarrier.evaluate import compute_dtype


def test_a_model_is_scored_from_the_command_line(folders, tmp_path, run_cli) -> None:
    task, text = tmp_path / "task.jsonl", tmp_path / "text.txt"
    task.write_text("".join(json.dumps({"prompt": f"w{i}", "answer": "w1"}) + "\n" for i in range(5)))
    text.write_text("w1 w2 w3 w4 " * 10)
    words = ("evaluate", folders["llama-mha-tied"], "--task", task, "--task", task, "--text", text)
    ran = run_cli(*words, "--json")
    assert ran.exit_code == 0 and ran.stderr == ""
    document = ran.json
    assert document["kind"] == "evaluation" and document["schema_version"] == 1
    assert [row["total"] for row in document["tasks"]] == [5, 5]
    assert 0 <= document["tasks"][0]["low"] <= document["tasks"][0]["rate"] <= document["tasks"][0]["high"]
    assert document["dtype"] == compute_dtype()
    assert document["text"]["tokens"] == 39 and document["text"]["perplexity"] > 1
    shown = run_cli(*words)
    assert "exact match" in shown.stdout and "perplexity" in shown.stdout


def test_nothing_to_measure_is_wrong_usage(folders, run_cli) -> None:
    ran = run_cli("evaluate", folders["llama-mha-tied"])
    assert ran.exit_code == 64 and "--task" in ran.stderr


def test_a_bad_task_is_refused_before_the_model_is_loaded(folders, tmp_path, run_cli) -> None:
    (tmp_path / "task.jsonl").write_text("{}\n")
    ran = run_cli("evaluate", tmp_path / "no model", "--task", tmp_path / "task.jsonl")
    assert ran.exit_code == 2 and ran.stdout == "" and ran.stderr.startswith("error: MB9001 ")
    assert ran.stderr.count("\n") == 1
