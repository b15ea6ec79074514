"""``mergebarrier demo``: the whole story on a real language model, shown while it happens.

Two experts of SmolLM2-135M are trained, merged (works), one is protected, merged again by six algorithms (fails),
realigned to the public base without its key (works again).  The grid is small; the full one belongs to ``audit``.  What
one run made, the next one finds: models by their manifests, figures by the digests that they depend on.
"""

import dataclasses
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mergebarrier.cli import audit as audit_verb
from mergebarrier.cli._options import WriterOptions, dtype_option, output_options, writer_options
from mergebarrier.cli._output import Output

if TYPE_CHECKING:
    from mergebarrier.audit import AuditSpec, MergeSetting
    from mergebarrier.keys import Key
    from mergebarrier.zoo import DemoAssets

__all__ = ["command"]

#: One setting per algorithm, and three for task arithmetic: the base cancels at coefficient 1.
_GRID: Final = (
    ("linear", 0.5),
    ("task_arithmetic", 0.5),
    ("task_arithmetic", 0.7),
    ("task_arithmetic", 1.0),
    ("ties", 1.0),
    ("dare_linear", 0.7),
    ("dare_ties", 0.7),
    ("slerp", 0.5),
)
#: Folder, method, and what it is for.
_PROTECTIONS: Final = (
    ("protected", "exact", "exact, lossless"),
    ("second-key", "exact", "the same with another key, as a control"),
    ("attention-only", "mergebarrier", "mergebarrier, attention only, for comparison"),
)
_SEARCH_BUDGET: Final = 3
_SEARCH_ITEMS: Final = 32
_TEST_ITEMS: Final = 100
_BARRIER_ITEMS: Final = 12
_TEXT_TOKENS: Final = 2048
_COMPARE_TOKENS: Final = 512


@click.command()
@dtype_option()
@writer_options(default=Path("mergebarrier-demo"), what="Where the models and the report go.")
@output_options
def command(writer: WriterOptions, dtype: str, output: Output) -> None:
    """Train two experts, merge them, protect one, merge again, realign it, merge again; print table and grade.

    Downloads about 100 MB once and takes minutes on two cores. A second run reuses what the first made, with or without
    --resume; --overwrite protects and audits afresh.
    """
    from mergebarrier import zoo

    out = writer.folder
    if writer.dry_run:
        output.result({"kind": "plan", **_plan(out)}, "\n".join(f"{name}: {text}" for name, text in _plan(out).items()))
        return
    output.note("1. A base and two experts of it, one for each of two tasks.")
    with output.progress("making the models") as bar:
        assets = zoo.demo_assets(_steps(output, bar))
    out.mkdir(parents=True, exist_ok=True)
    output.note("2. The expert for the first task is protected; its key is kept next to the model.")
    protected, second, attention = _protect(assets, writer, output)
    output.note(
        "3. Merge without protection (works), with it (fails), realign it without the key, merge again (works)."
    )
    output.note("   Two figures a line: skill on the protected expert's task / on the partner's task.")
    spec = dataclasses.replace(_spec(assets, (protected, second, attention), writer), dtype=dtype)
    report = out / "report"
    fresh = writer.overwrite
    result, rows = audit_verb.run(spec, report, output, threads=writer.threads, resume=not fresh, fresh=fresh)
    audit_verb.conclude(result, rows, report, output, protected=protected)


def _plan(out: Path) -> dict[str, str]:
    """Return what a run does, in its order."""
    return {
        "models": "fetch SmolLM2-135M and train two experts of it, once, below the zoo's cache",
        "protect": ", ".join(str(out / name) for name, _, _ in _PROTECTIONS),
        "merge": ", ".join(f"{merge} {coefficient:g}" for merge, coefficient in _GRID),
        "report": str(out / "report"),
    }


def _steps(output: Output, bar: Any) -> Any:
    """Print every new piece of work on a line, and its steps on the bar."""
    shown = ""

    def step(what: str, done: int, total: int) -> None:
        nonlocal shown
        if what != shown:
            shown = what
            output.note(f"   {what}")
        bar(done, total)

    return step


def _protect(assets: "DemoAssets", writer: WriterOptions, output: Output) -> list[Path]:
    """Protect the first expert: exactly, the same with a second key, and by the attention-only method."""
    from mergebarrier.checkpoint import open_checkpoint
    from mergebarrier.protect import PROTECTIONS
    from mergebarrier.verbs import OutputOptions, protect

    out, folders = writer.folder, []
    with open_checkpoint(assets.expert_a) as original:
        digest = original.content_digest(workers=writer.workers)
        for name, method, purpose in _PROTECTIONS:
            folder, place = out / name, out / f"{name}.mbkey"
            keyed = PROTECTIONS[method]().keyed
            folders.append(folder)
            made = _protected_from(folder, digest, method) and (place.exists() or not keyed)
            if made and not writer.overwrite:
                continue
            key = _key(place) if keyed else None
            with output.progress(f"protecting: {purpose}") as bar:
                into = OutputOptions(folder, False, True, writer.workers, writer.max_ram_bytes, bar)
                protect(original, PROTECTIONS[method](), key, into)
            output.note(f"   {folder}: {purpose}" + (f"; key {key.id} in {place.name}" if key else ""))
    return folders


def _key(place: Path) -> "Key":
    """Return the key at a place, made when it is not there."""
    from mergebarrier.keys import KEY_BYTES, Key, read_key_file, write_key_file

    if not place.exists():
        write_key_file(place, secrets.token_bytes(KEY_BYTES))
    return Key(read_key_file(place))


def _protected_from(folder: Path, digest: str, method: str) -> bool:
    """Say whether a folder is this version's protection of these weights, finished."""
    from mergebarrier import __version__
    from mergebarrier.checkpoint import read_manifest
    from mergebarrier.errors import BadManifest

    try:
        content = read_manifest(folder)["content"]
    except BadManifest:
        return False
    made = (content["tool"]["version"], content["verb"], content.get("method"), content["inputs"][0]["content_digest"])
    return bool(made == (__version__, "protect", method, digest))


def _spec(assets: "DemoAssets", models: tuple[Path, Path, Path], writer: WriterOptions) -> "AuditSpec":
    from mergebarrier.audit import AuditSpec

    protected, second, attention = models
    return AuditSpec(
        protected=protected,
        original=assets.expert_a,
        base=assets.base,
        partner=assets.expert_b,
        task=assets.task_a.test,
        partner_task=assets.task_b.test,
        work=writer.folder / "realigned",
        validation=assets.task_a.val,
        partner_validation=assets.task_b.val,
        text=assets.text_test,
        settings=_settings(),
        search_budget=_SEARCH_BUDGET,
        max_items=_TEST_ITEMS,
        search_items=_SEARCH_ITEMS,
        barrier_items=_BARRIER_ITEMS,
        text_tokens=_TEXT_TOKENS,
        compare_tokens=_COMPARE_TOKENS,
        aga_settings=1,
        second=second,
        comparisons=(attention,),
        seed=writer.seed,
        workers=writer.workers,
    )


def _settings() -> "tuple[MergeSetting, ...]":
    from mergebarrier.audit import MergeSetting

    return tuple(MergeSetting(merge, (("coefficient", coefficient),)) for merge, coefficient in _GRID)
