"""The file of a plan: canonical JSON, written whole or not at all, and read back strictly."""

from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Final

from mergebarrier import __version__
from mergebarrier.audit import SINGLE, AuditSpec, WorkPlan
from mergebarrier.errors import BadReport, clean

_MAX_BYTES: Final = 16 * 2**20
_MOST_THREADS: Final = 1024
_DEFAULTS: Final = {one.name: () if one.default_factory is not MISSING else one.default for one in fields(AuditSpec)}
AGAIN: Final = "make the plan again with `mergebarrier audit --plan-only`"


def write_plan(plan: WorkPlan, path: Path) -> None:
    """Write a plan, whole or not at all."""
    from mergebarrier.checkpoint import canonical_json

    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(canonical_json(asdict(plan)))
    fresh.replace(path)


def read_plan(path: Path) -> WorkPlan:
    """Read a plan back strictly.

    Whoever does its tasks writes into its folder and nowhere else, whatever the plan names.

    Raises: BadReport when it is missing, no plan, of another folder, of another version of this package, or changed.
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
    if not 0 < plan.threads <= _MOST_THREADS or plan.inputs.keys() != set(SINGLE):
        raise BadReport(f"{plan.threads} threads for {len(plan.inputs)} inputs", where=path, remedy=AGAIN)
    try:
        odd = next((name for name, value in vars(plan.spec).items() if not _is_like(value, _DEFAULTS[name])), None)
        elsewhere = plan.spec.work.resolve() != path.parent.resolve()
    except (TypeError, ValueError, KeyError) as error:
        raise BadReport(f"its fields are not those of an audit ({clean(error)})", where=path, remedy=AGAIN) from error
    if odd is not None or elsewhere:
        what = f"its field {odd} has another type" if odd else "it was made to work in another folder"
        raise BadReport(what, where=path, remedy=AGAIN)
    if plan.seal != plan.name:
        raise BadReport("it was changed after it was made", where=path, remedy=AGAIN)
    return plan


def _is_like(value: object, default: object) -> bool:
    """Whether a field of a plan has the type of its default: a number or nothing where it is None, else a path."""
    if isinstance(value, Path) and "\0" in str(value):
        return False
    if default is MISSING:
        return isinstance(value, Path)
    if default is None:
        return value is None or isinstance(value, int | float | Path)
    if isinstance(default, tuple):
        return isinstance(value, tuple)
    return isinstance(value, type(default))
