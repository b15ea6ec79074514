"""The file of a plan: canonical JSON, written whole or not at all, and read back strictly."""

from dataclasses import asdict
from pathlib import Path
from typing import Final

from mergebarrier import __version__
from mergebarrier.audit import WorkPlan
from mergebarrier.errors import BadReport

_MAX_BYTES: Final = 16 * 2**20
AGAIN: Final = "make the plan again with `mergebarrier audit --plan-only`"


def write_plan(plan: WorkPlan, path: Path) -> None:
    """Write a plan, whole or not at all."""
    from mergebarrier.checkpoint import canonical_json

    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(canonical_json(asdict(plan)))
    fresh.replace(path)


def read_plan(path: Path) -> WorkPlan:
    """Read a plan back strictly.

    Raises: BadReport when it is missing, no plan, or of another version of this package.
    """
    from pydantic import TypeAdapter, ValidationError

    if not path.is_file() or path.stat().st_size > _MAX_BYTES:
        raise BadReport("there is no such plan", where=path, remedy=AGAIN)
    try:
        plan = TypeAdapter(WorkPlan).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "document"
        raise BadReport(f"{place}: {first['msg']}", where=path, remedy=AGAIN) from None
    if plan.version != __version__:
        raise BadReport(f"it is of mergebarrier {plan.version}, this is {__version__}", where=path, remedy=AGAIN)
    return plan
