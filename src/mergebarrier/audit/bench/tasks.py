"""The rows of both tasks: scores are measured on test rows, settings are chosen on validation rows, and no prompt is in
both, whatever its blanks and its case.

Without a validation file the first half of a task file is for validation and the second half for the test.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mergebarrier.audit.bench.spec import AuditSpec
from mergebarrier.errors import BadTask, clean
from mergebarrier.results import Split, TaskSet

if TYPE_CHECKING:
    from mergebarrier.evaluate import TaskRow

#: The two tasks, by whose expert they belong to.
OURS, THEIRS = "protected", "partner"
TASKS = (OURS, THEIRS)


def rows_digest(rows: "Sequence[TaskRow]") -> str:
    """Hash the very rows that score, so that the same rows from another file count as the same."""
    text = "\n".join(f"{row.prompt!r}\t{row.answer!r}" for row in rows)
    return hashlib.sha256(text.encode()).hexdigest()


def read_tasks(spec: AuditSpec) -> "dict[tuple[str, Split], tuple[TaskRow, ...]]":
    """Read both tasks and cut them into test and validation rows."""
    from mergebarrier.evaluate import read_task

    rows: dict[tuple[str, Split], tuple[TaskRow, ...]] = {}
    given = ((OURS, spec.task, spec.validation), (THEIRS, spec.partner_task, spec.partner_validation))
    for task, test, validation in given:
        found = read_task(test).rows
        if validation is not None:
            chosen = read_task(validation).rows
        else:
            half = len(found) // 2
            chosen, found = found[:half], found[half:]
        if not chosen or not found:
            raise BadTask("too few rows to cut into two halves", where=test, remedy="give at least two rows")
        if len(found) > 1 and len({row.answer.strip() for row in found}) == 1:
            only = clean(found[0].answer.strip()[:40])
            what = f"all {len(found)} answers are {only!r}, so whatever says nothing else has the skill"
            raise BadTask(what, where=test, remedy="add rows with other answers")
        rows[task, "test"], rows[task, "validation"] = found, chosen
    for own, own_test, validation in given:
        for task, test, _ in given:
            shared = {row.question for row in rows[own, "validation"]} & {row.question for row in rows[task, "test"]}
            if not shared:
                continue
            if validation is not None:
                what = f"{len(shared)} prompts of the validation file are also in {test.name}"
                raise BadTask(what, where=validation, remedy="remove them from one of the files")
            if own_test == test:  # its halves; two tasks may have rows in common
                what = (
                    f"{len(shared)} prompts are in its first half, for validation, and in its second half, for the test"
                )
                raise BadTask(what, where=test, remedy="remove what is repeated, or give a validation file")
    cut = {"test": spec.max_items, "validation": spec.search_items}
    return {(task, split): one[: cut[split]] for (task, split), one in rows.items()}


def task_sets(spec: AuditSpec, rows: "Mapping[tuple[str, Split], Sequence[TaskRow]]") -> dict[str, TaskSet]:
    """Return what a report says of the rows that ``read_tasks`` found."""
    from mergebarrier.evaluate import read_task

    return {
        task: TaskSet(
            name=path.name,
            digest=read_task(path).digest,
            test_items=len(rows[task, "test"]),
            validation_items=len(rows[task, "validation"]),
            test_distinct=len(set(rows[task, "test"])),
            validation_distinct=len(set(rows[task, "validation"])),
        )
        for task, path in ((OURS, spec.task), (THEIRS, spec.partner_task))
    }
