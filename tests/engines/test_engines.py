"""Every engine gives the rows of an audit in one process, bit for bit, and a lost worker costs only its present row."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mergebarrier as mb
from mergebarrier.api import plan_work, worker
from mergebarrier.audit import SINGLE, AuditOptions
from mergebarrier.engines import finished_rows, read_plan
from mergebarrier.engines.rows import TaskJournal
from mergebarrier.errors import BadReport, MissingExtra, UsageError, WorkerLost
from mergebarrier.report import Journal
from scripts import with_helpers

LAB = Path(__file__).with_name("plan_kill_lab.py")
SMALL = {"merges": ("task_arithmetic",), "coefficients": (0.5,), "budget": 1, "smooth": 0, "learn": 1, "levels": "0-1"}
WHOLE = SMALL | {"budget": 5, "smooth": 4, "learn": 2, "levels": ""}
CLOCKS = ("seconds", "merge_seconds")


def run(stage: Any, out: Path, *, verb: Callable[..., Any] = mb.audit, write: Any = None, **chosen: Any) -> Any:
    world, given = stage.world, {name: chosen.pop(name) for name in ("say",) if name in chosen}
    files = {"validation": world.validation, "partner_validation": world.partner_validation, "text": world.text}
    return verb(
        stage.exact, original=world.original, base=world.base, partner=world.partner, task=world.task,
        partner_task=world.partner_task, out=out, options=AuditOptions(**SMALL | files | chosen), write=write, **given,
    )  # fmt: skip


def timeless(report: Any) -> list[dict[str, Any]]:
    """The rows in their order, without what a clock says."""
    return [{k: v for k, v in dataclasses.asdict(row).items() if k not in CLOCKS} for row in report.records]


@pytest.fixture(scope="module")
def serial(stage, tmp_path_factory) -> list[dict[str, Any]]:
    return timeless(run(stage, tmp_path_factory.mktemp("serial") / "report"))


@pytest.fixture
def plan(stage, tmp_path) -> Path:
    return Path(run(stage, tmp_path / "report", verb=plan_work).plan)


@pytest.mark.slow
@pytest.mark.parametrize("kills", [3, 30])
def test_a_worker_that_is_killed_again_and_again_measures_no_row_twice(kills, stage, plan, serial, tmp_path) -> None:
    command = [sys.executable, str(LAB), str(plan), str(kills), "7"]
    ran = subprocess.run(command, env=with_helpers(), capture_output=True)
    assert ran.returncode == 0, ran.stderr.decode()[-2000:]
    assert int(ran.stdout) >= min(kills, 3)
    ready = {row.row_id for row in finished_rows(plan.parent)}
    report = run(stage, tmp_path / "report", write=mb.WriteOptions(resume=True))
    assert timeless(report) == serial
    # Nothing was left to the audit itself but its check.
    assert [row.about for row in report.records if row.row_id not in ready] == ["merge with itself of original"]
    assert not plan.parent.exists()


def test_a_task_waits_for_those_that_it_needs(stage, tmp_path) -> None:
    path = Path(run(stage, tmp_path / "report", verb=plan_work, budget=2).plan)
    last = read_plan(path).tasks[-1]
    with pytest.raises(UsageError, match=rf"task {last.index} \(search protected 1\) needs task 0, which is not"):
        worker(path, last.index)
    done = worker(path, 0)
    assert (done.label, done.n_rows) == ("single base", 2)
    with pytest.raises(UsageError, match=rf"no task {last.index + 1}.*give 0 to {last.index}"):
        worker(path, last.index + 1)


def test_the_rows_of_a_plan_are_named_before_they_are_measured(plan) -> None:
    tasks = {task.label: task for task in read_plan(plan).tasks}
    worker(plan, tasks["grid protected task_arithmetic"].index)
    assert [row.row_id for row in finished_rows(plan.parent)] == list(tasks["grid protected task_arithmetic"].rows)


def test_a_plan_whose_model_has_changed_is_refused(stage, tmp_path) -> None:
    import shutil

    moved = dataclasses.replace(stage, exact=tmp_path / "exact")
    shutil.copytree(stage.exact, moved.exact)
    path = Path(run(moved, tmp_path / "report", verb=plan_work).plan)
    shutil.rmtree(moved.exact)
    shutil.copytree(stage.second, moved.exact)
    with pytest.raises(BadReport, match="protected has other weights than when the plan was made"):
        worker(path, 0)


def test_a_plan_that_was_changed_or_whose_rows_are_others_is_refused(stage, plan, tmp_path) -> None:
    text = plan.read_text()
    plan.write_text(text.replace('"seed":0', '"seed":1'))
    assert plan.read_text() != text
    with pytest.raises(BadReport, match="changed after it was made"):
        worker(plan, 0)
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(stage.world.task.read_bytes())
    moved = dataclasses.replace(stage, world=dataclasses.replace(stage.world, task=rows))
    path = Path(run(moved, tmp_path / "other", verb=plan_work).plan)
    rows.write_text("\n".join(rows.read_text().splitlines()[:-1]))
    with pytest.raises(BadReport, match="the file of task has other rows than when the plan was made"):
        worker(path, 0)


@pytest.mark.parametrize("text", [b"", b"{}", b'{"kind": "audit plan"}', b"\xff"])
def test_what_is_no_plan_is_refused_in_a_line(text: bytes, tmp_path) -> None:
    path = tmp_path / "plan.json"
    with pytest.raises(BadReport, match="no such plan"):
        worker(path, 0)
    path.write_bytes(text)
    with pytest.raises(BadReport, match="make the plan again") as caught:
        worker(path, 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"threads": 0}, "0 threads"), ({"threads": 10**9}, "threads"), ({"inputs": {}}, "0 inputs"),
        ({"fields": {}}, "fields"), ({"evil": 1}, "fields"), ({"base": 5}, "base"), ({"base": "a\0b"}, "base"),
        ({"seed": "0"}, "seed"), ({"levels": 0}, "levels"), ({"settings": [[1]]}, "fields"),
        ({"work": "/tmp/elsewhere"}, "another folder"), ({"seed": 1}, "changed after it was made"),
    ],
)  # fmt: skip
def test_a_plan_of_a_stranger_is_refused_in_a_line(change: dict, says: str, tmp_path) -> None:
    whole = {"threads": 1, "inputs": dict.fromkeys(SINGLE, "0"), "files": {}, "tasks": [], "version": mb.__version__}
    fields = dict.fromkeys((*SINGLE, "task", "partner_task"), "/none") | {"work": str(tmp_path)}
    document = {"fields": fields, **whole, "schema_version": 1, "kind": "audit plan"}
    at = document if change.keys() <= document.keys() else fields
    at.update(change)
    (tmp_path / "plan.json").write_text(json.dumps(document))
    with pytest.raises(BadReport, match=says) as caught:
        read_plan(tmp_path / "plan.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["tasks", "tasks/0.jsonl", "tasks/0.new", "tasks/0123456789ab-0.done"])
def test_rows_are_not_written_through_a_link(name: str, tmp_path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "work").mkdir()
    if name != "tasks":
        (tmp_path / "work" / "tasks").mkdir()
        (tmp_path / "work" / "tasks" / "0.jsonl").write_bytes(b"cut")
        (tmp_path / "work" / name).unlink(missing_ok=True)
    (tmp_path / "work" / name).symlink_to(outside if name == "tasks" else outside / "file")
    with pytest.raises(BadReport, match="not the rows of a task"):
        TaskJournal(tmp_path / "work").begin(0)
    assert not list(outside.iterdir())


def test_a_new_audit_takes_no_rows_of_tasks_that_were_there(stage, plan, tmp_path) -> None:
    worker(plan, 0)
    journal = Journal.open(tmp_path / "report", overwrite=True)
    assert not journal.used
    run(stage, tmp_path / "report", write=mb.WriteOptions(overwrite=True), engine="serial")
    assert not (tmp_path / "report" / "work").exists()


def test_a_cluster_without_a_token_is_refused_and_so_is_a_missing_extra(stage, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with pytest.raises(UsageError, match=r"without token authentication.*set RAY_AUTH_MODE=token"):
        run(stage, tmp_path / "report", engine="ray")
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install mergebarrier\[ray\]"):
        run(stage, tmp_path / "other", engine="ray")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["process", "ray"])
def test_two_workers_of_which_one_is_killed_give_the_rows_of_one_process(engine, stage, tmp_path) -> None:
    wanted, world, out = timeless(run(stage, tmp_path / "serial", **WHOLE)), stage.world, tmp_path / "report"
    command = [
        sys.executable, "-m", "mergebarrier", "audit", stage.exact, "--original", world.original, "--base", world.base,
        "--partner", world.partner, "--task", world.task, "--partner-task", world.partner_task, "--text", world.text,
        "--validation", world.validation, "--partner-validation", world.partner_validation, "--merges",
        "task_arithmetic", "--coefficients", "0.5", "--budget", "5", "--smooth", "4", "--learn", "2", "-o", out,
        "--engine", engine, "--workers", "2", "--threads", "1",
    ]  # fmt: skip
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as runs:
        lines, killed = [], 0
        for line in runs.stderr:
            lines.append(line)
            if not killed and line.startswith("task ") and " process " in line:
                killed = int(line.rpartition(" process ")[2])
                os.kill(killed, signal.SIGKILL)  # it is at its next task by now
    assert runs.returncode == 0 and killed and [line for line in lines if "is given to another" in line], lines
    assert timeless(mb.report(out)) == wanted
    assert not (out / "work").exists()


@pytest.mark.slow
def test_workers_that_die_at_once_end_the_audit_in_a_line_that_says_so(stage, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sitecustomize.py").write_text("import os\nos._exit(9)\n")
    with pytest.raises(WorkerLost, match=r"ended \(exit code 9\).*go on with --resume"):
        run(stage, tmp_path / "report", write=mb.WriteOptions(workers=2), engine="process")
