"""``demo``: the whole story on a real language model: train two experts, merge, protect, merge, realign, merge.

    demo_models(out)  ->  base, experts, protected models        demo(out)  ->  their audit on a small grid

What one run made, the next one finds: models by their manifests, figures by the digests that they depend on.
"""

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from mergebarrier.api.audited import AuditReport, AuditRun, audited
from mergebarrier.api.base import Report, WriteOptions, beside
from mergebarrier.audit import AuditSpec, MergeSetting
from mergebarrier.progress import Progress

if TYPE_CHECKING:
    from mergebarrier.keys import Key
    from mergebarrier.zoo import DemoAssets

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
#: The searches over single parts and by gradient take longer than all the rest of a demo.
_LEVELS: Final = (0, 1, 2)
_SEARCH_ITEMS: Final = 32
_TEST_ITEMS: Final = 100
_BARRIER_ITEMS: Final = 12
_TEXT_TOKENS: Final = 2048
_COMPARE_TOKENS: Final = 512


@dataclass(frozen=True, kw_only=True)
class DemoModels:
    """The demonstration's models: base, experts and tasks of the zoo, and its three protected folders."""

    assets: "DemoAssets"
    protected: Path
    second_key: Path
    attention_only: Path


@dataclass(frozen=True, kw_only=True)
class DemoReport(AuditReport):
    """The audit of the demonstration, and the protected model that it is about."""

    protected: Path = beside()

    def document(self) -> dict[str, object]:
        """Return the result, where its page is, and where the protected model is."""
        return super().document() | {"protected": self.protected}


@dataclass(frozen=True, kw_only=True)
class DemoPlan(Report):
    """What a demonstration does, in its order."""

    kind: ClassVar[str] = "plan"

    models: str
    protect: str
    merge: str
    report: str


def demo_models(
    out: str | os.PathLike[str],
    *,
    write: WriteOptions | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: Progress = lambda done, total: None,
) -> DemoModels:
    """Fetch the base, train its experts, and protect the first of them in three ways, or find all of that done.

    Args:
      out:      folder of the protected models and their keys.
      write:    ``overwrite`` protects afresh.
      say:      called with one line per piece of work.
      progress: called with (steps done, steps) of each.
    Raises: AssetMissing, MissingExtra.
    """
    from mergebarrier import zoo

    write, folder, shown = write or WriteOptions(), Path(out), ""

    def step(what: str, done: int, total: int) -> None:
        nonlocal shown
        if what != shown:
            shown = what
            say(f"   {what}")
        progress(done, total)

    say("1. A base and two experts of it, one for each of two tasks.")
    assets = zoo.demo_assets(step)
    folder.mkdir(parents=True, exist_ok=True)
    say("2. The expert for the first task is protected; its key is kept next to the model.")
    protected, second, attention = _protect(assets, folder, write, say, progress)
    return DemoModels(assets=assets, protected=protected, second_key=second, attention_only=attention)


def demo(
    out: str | os.PathLike[str] = "mergebarrier-demo",
    *,
    models: DemoModels | None = None,
    dtype: str = "auto",
    seed: int = 0,
    write: WriteOptions | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> DemoReport:
    """Audit the demonstration's protected model on a small grid; the report goes below ``out``.

    Args:
      out:    folder of models and report.
      models: of ``demo_models``, which is called without them.
      dtype:  to run models in.
      seed:   of every random merge.
      write:  ``overwrite`` starts afresh; otherwise what an earlier run finished is found.
      say:    called with one line per piece of work.
    """
    folder, write = Path(out), write or WriteOptions()
    models = models or demo_models(folder, write=write, say=say)
    say("3. Merge without protection (works), with it (fails), realign it without the key, merge again (works).")
    say("   Two figures a line: skill on the protected expert's task / on the partner's task.")
    how = WriteOptions(
        resume=not write.overwrite,
        overwrite=write.overwrite,
        workers=write.workers,
        max_ram_bytes=write.max_ram_bytes,
    )
    spec = _spec(models, dtype, seed)
    command = "mergebarrier demo" + (f" --seed {seed}" if seed else "")
    found = audited(spec, folder / "report", how, say, AuditRun(command=command, keep=folder / "realigned"))
    return DemoReport(result=found.result, records=found.records, page=found.page, protected=models.protected)


def plan_demo(out: str | os.PathLike[str] = "mergebarrier-demo") -> DemoPlan:
    """Return what ``demo`` does, without doing any of it."""
    folder = Path(out)
    return DemoPlan(
        models="fetch SmolLM2-135M and train two experts of it, once, below the zoo's cache",
        protect=", ".join(str(folder / name) for name, _, _ in _PROTECTIONS),
        merge=", ".join(f"{merge} {coefficient:g}" for merge, coefficient in _GRID),
        report=str(folder / "report"),
    )


def _protect(
    assets: "DemoAssets", out: Path, write: WriteOptions, say: Callable[[str], None], progress: Progress
) -> list[Path]:
    """Protect the first expert: exactly, the same with a second key, and by the attention-only method."""
    from mergebarrier.checkpoint import open_checkpoint
    from mergebarrier.protect import PROTECTIONS
    from mergebarrier.verbs import OutputOptions, protect

    folders = []
    with open_checkpoint(assets.expert_a) as original:
        digest = original.content_digest(workers=write.workers)
        for name, method, purpose in _PROTECTIONS:
            folder, place, protection = out / name, out / f"{name}.mbkey", PROTECTIONS[method]()
            folders.append(folder)
            made = _protected_from(folder, digest, method) and (place.exists() or not protection.keyed)
            if made and not write.overwrite:
                continue
            key = _key(place) if protection.keyed else None
            into = OutputOptions(
                folder,
                overwrite=True,
                workers=write.workers,
                max_ram_bytes=write.max_ram_bytes,
                progress=progress,
            )
            protect(original, protection, key, into)
            say(f"   {folder}: {purpose}" + (f"; key {key.id} in {place.name}" if key else ""))
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
    from mergebarrier.checkpoint import read_finished
    from mergebarrier.errors import BadManifest

    try:
        content = read_finished(folder)["content"]
    except BadManifest:
        return False
    if content.get("verb") != "protect":
        return False
    made = (content["tool"]["version"], content.get("method"), content["inputs"][0]["content_digest"])
    return bool(made == (__version__, method, digest))


def _spec(models: DemoModels, dtype: str, seed: int) -> AuditSpec:
    assets = models.assets
    return AuditSpec(
        protected=models.protected,
        original=assets.expert_a,
        base=assets.base,
        partner=assets.expert_b,
        task=assets.task_a.test,
        partner_task=assets.task_b.test,
        work=Path(),
        validation=assets.task_a.val,
        partner_validation=assets.task_b.val,
        text=assets.text_test,
        settings=tuple(MergeSetting(merge, (("coefficient", coefficient),)) for merge, coefficient in _GRID),
        levels=_LEVELS,
        search_budget=_SEARCH_BUDGET,
        smooth_evaluations=0,
        edit_evaluations=0,
        max_items=_TEST_ITEMS,
        search_items=_SEARCH_ITEMS,
        barrier_items=_BARRIER_ITEMS,
        text_tokens=_TEXT_TOKENS,
        compare_tokens=_COMPARE_TOKENS,
        aga_settings=1,
        second=models.second_key,
        comparisons=(models.attention_only,),
        dtype=dtype,
        seed=seed,
    )
