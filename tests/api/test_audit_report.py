"""``mb.audit`` over paths and opened checkpoints: the report is the document, a table, and every format of a folder."""

import json
import shlex

import pytest

import mergebarrier as mb
from mergebarrier.api import plan_audit
from mergebarrier.cli.audit import command
from mergebarrier.errors import BadReport, UsageError

SMALL = {"merges": ("task_arithmetic",), "coefficients": (0.5, 1.0), "levels": "0-1", "budget": 1, "smooth": 4}


@pytest.fixture(scope="module")
def audited(audit_world, tmp_path_factory):
    world, protected = audit_world
    out, said, steps = tmp_path_factory.mktemp("front") / "report", [], []
    with mb.open_checkpoint(world.original) as original:
        report = mb.audit(
            protected,
            original=original,
            base=str(world.base),
            partner=world.partner,
            task=world.task,
            partner_task=str(world.partner_task),
            out=out,
            options=mb.AuditOptions(
                validation=world.validation, partner_validation=world.partner_validation, text=world.text, **SMALL
            ),
            say=said.append,
            progress=lambda done, total: steps.append((done, total)),
        )
        assert original.tensors, "what was given open stays open"
    done = [step for step, _ in steps]
    assert done == sorted(done) and steps[-1][0] == steps[-1][1] and len({total for _, total in steps}) == 1
    return report, out, said


def test_the_report_is_what_the_folder_holds(audited) -> None:
    report, out, said = audited
    assert report.result.grade == "C" and not report.result.grade_final and report.page == out / "report.html"
    document = report.to_dict()
    assert document.pop("report") == str(out / "report.html")
    assert document == json.loads((out / "result.json").read_text()) and document["schema_version"] == 2
    assert any(line.startswith("protected task_arithmetic 0.5 (test)") for line in said)
    assert not (out / "work").exists()


def test_the_report_says_how_to_make_it_again(audited, audit_world) -> None:
    report, out, _ = audited
    words = shlex.split(report.result.command)
    assert words[:2] == ["mergebarrier", "audit"] and str(out.parent) not in report.result.command
    asked = command.make_context("audit", [*words[2:-2], "-o", str(out)], resilient_parsing=True).params
    assert (
        asked["merges"] == "task_arithmetic"
        and asked["coefficients"] == "0.5,1.0"
        and "--budget 1" in report.result.command
    )
    assert words[words.index("--original") + 1] == audit_world[0].original.name and asked["levels"] == "0-1"
    assert "To make it again" in (out / "report.html").read_text()


def test_the_rows_are_a_table(audited) -> None:
    report, _, _ = audited
    table = report.rows()
    assert {row["state"] for row in table} == {"unprotected", "protected"}
    assert len({tuple(row) for row in table}) == 1, "every row has the same columns"
    free = [row["utility"] for row in table if row["state"] == "unprotected" and row["split"] == "test"]
    best = max(level.best_unprotected.utility for level in report.result.levels)
    assert max(free) == pytest.approx(best)


def test_a_folder_is_read_back_and_rendered_in_every_form(audited, tmp_path) -> None:
    report, out, _ = audited
    again = mb.report(out)
    assert again.result == report.result and again.records == report.records and again.page is None
    assert again.render("html") == (out / "report.html").read_text()
    assert again.render("md") == (out / "card.md").read_text()
    assert again.render("sarif") == (out / "findings.sarif").read_text()
    assert json.loads(again.render("json")) == json.loads((out / "result.json").read_text()) == again.to_dict()
    with pytest.raises(BadReport, match=r"result\.json is missing"):
        mb.report(tmp_path)


def test_without_a_folder_nothing_is_kept(audit_world, tmp_path, monkeypatch) -> None:
    world, protected = audit_world
    monkeypatch.chdir(tmp_path)
    report = mb.audit(
        protected,
        original=world.original,
        base=world.base,
        partner=world.partner,
        task=world.task,
        partner_task=world.partner_task,
        options=mb.AuditOptions(merges=("linear",), coefficients=(0.5,), levels="0"),
    )
    assert report.page is None and "report" not in report.to_dict() and not list(tmp_path.iterdir())
    assert [level.level for level in report.result.levels] == [0]


def test_a_plan_counts_what_the_audit_then_does(audited) -> None:
    report, _, _ = audited
    plan = plan_audit(mb.AuditOptions(**SMALL)).to_dict()
    cells = [row for row in report.rows() if row["coefficient"] is not None and row["split"] == "test"]
    assert plan["kind"] == "plan" and plan["levels"] == [0, 1] and plan["cells on test rows"] == len(cells) == 4
    trials = [row for row in report.rows() if row["split"] == "validation"]
    assert plan["cells on validation rows"] == len(trials) == 2 and plan["realignments"] == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"levels": "0-9"}, "there is no level 9"),
        ({"merges": ("tise",)}, "unknown merge 'tise'"),
        ({"coefficients": (3.0,)}, "not a list of coefficients"),
        ({"merges": ("slerp",), "coefficients": (1.0,)}, "no setting is left"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_by_name(options, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        plan_audit(mb.AuditOptions(**options))
    assert says in str(refused.value)
