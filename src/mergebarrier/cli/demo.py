"""``mergebarrier demo``: the whole story on a real language model, told while it happens.

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
from mergebarrier.cli._options import dtype_option, output_options, threads_option
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
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("mergebarrier-demo"),
    show_default=True,
    metavar="DIR",
    help="Where the models and the report go.",
)
@dtype_option()
@threads_option
@output_options
def command(out: Path, dtype: str, threads: int, output: Output) -> None:
    """Train two experts, merge them, protect one, merge again, realign it, merge again; print table and grade.

    Downloads about 100 MB once and takes minutes on two cores. A second run reuses what the first made.
    """
    from mergebarrier import zoo

    output.note("1. A base and two experts of it, one for each of two tasks.")
    with output.progress("making the models") as bar:
        assets = zoo.demo_assets(_steps(output, bar))
    out.mkdir(parents=True, exist_ok=True)
    output.note("2. The expert for the first task is protected; its key stays beside the model.")
    protected, second, attention = _protect(assets, out, threads, output)
    output.note(
        "3. Merge without protection (works), with it (fails), realign it without the key, merge again (works)."
    )
    output.note("   Two figures a line: skill on the protected expert's task / on the partner's task.")
    models = (protected, second, attention)
    spec = dataclasses.replace(_spec(assets, models, out), dtype=dtype, workers=threads)
    result, rows = audit_verb.run(spec, out / "report", output, threads=threads, resume=True, fresh=False)
    audit_verb.conclude(result, rows, out / "report", output, protected=protected)


def _steps(output: Output, bar: Any) -> Any:
    """Tell every new piece of work in a line, and its steps on the bar."""
    told = ""

    def step(what: str, done: int, total: int) -> None:
        nonlocal told
        if what != told:
            told = what
            output.note(f"   {what}")
        bar(done, total)

    return step


def _protect(assets: "DemoAssets", out: Path, threads: int, output: Output) -> list[Path]:
    """Protect the first expert: exactly, the same with a second key, and by the attention-only method."""
    from mergebarrier.checkpoint import open_checkpoint
    from mergebarrier.protect import PROTECTIONS
    from mergebarrier.verbs import OutputOptions, protect

    folders = []
    with open_checkpoint(assets.expert_a) as original:
        digest = original.content_digest(workers=threads)
        for name, method, purpose in _PROTECTIONS:
            folder, place = out / name, out / f"{name}.mbkey"
            keyed = PROTECTIONS[method]().keyed
            folders.append(folder)
            if _protected_from(folder, digest, method) and (place.exists() or not keyed):
                continue
            key = _key(place) if keyed else None
            with output.progress(f"protecting: {purpose}") as bar:
                into = OutputOptions(folder, overwrite=True, workers=threads, progress=bar)
                protect(original, PROTECTIONS[method](), key, into)
            output.note(f"   {folder}: {purpose}" + (f"; key {key.id} in {place.name}" if key else ""))
    return folders


def _key(place: Path) -> "Key":
    """Return the key at a place, made when it is not there."""
    from mergebarrier.checkpoint import read_key_file, write_key_file
    from mergebarrier.keys import KEY_BYTES, Key

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


def _spec(assets: "DemoAssets", models: tuple[Path, Path, Path], out: Path) -> "AuditSpec":
    from mergebarrier.audit import AuditSpec

    protected, second, attention = models
    return AuditSpec(
        protected=protected,
        original=assets.expert_a,
        base=assets.base,
        partner=assets.expert_b,
        task=assets.task_a.test,
        partner_task=assets.task_b.test,
        work=out / "realigned",
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
    )


def _settings() -> "tuple[MergeSetting, ...]":
    from mergebarrier.audit import MergeSetting

    return tuple(MergeSetting(merge, (("coefficient", coefficient),)) for merge, coefficient in _GRID)
