"""Every verb that writes, as a command over one stage of tiny models; for labs that kill it or break its disk."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image

import tiny_bench
from fuzzing import CONFIG, llama
from mergebarrier.checkpoint import MANIFEST_NAME, open_checkpoint, verify_manifest
from mergebarrier.cli import main
from mergebarrier.errors import MergebarrierError
from mergebarrier.report import read_report
from mergebarrier.report.folder import FILES
from model_folders import safetensors_bytes, write_folder

BENCH = ("base", "expert-bright", "expert-dark", "bright.task.safetensors", "dark.task.safetensors")
MODULE = "2_Dense"
#: Files in folders of the models that outputs take their files from.
BELOW = {
    "modules.json": json.dumps([
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate((("", "Transformer"), ("1_Pooling", "Pooling"), (MODULE, "Dense")))
    ]).encode(),
    "1_Pooling/config.json": b'{"word_embedding_dimension": 8}',
    f"{MODULE}/config.json": b'{"in_features": 8, "out_features": 8}',
    f"{MODULE}/model.safetensors": safetensors_bytes({"linear.weight": torch.eye(8)}),
    "additional_chat_templates/rag.jinja": b"x",
}  # fmt: skip


@dataclass(frozen=True)
class Verb:
    """A command without the place of its output.

    Attributes:
      words:   of the command line.
      suffix:  that the name of the output ends in; "" for a folder.
      place:   what names the output: an option, or a variable of the environment that holds a cache.
      beside:  of the files beside the output: ends of their names, with the option that names them, if one does.
      drawn:   whether two runs write other bytes, as a new key does.
    """

    words: tuple[object, ...]
    suffix: str = ""
    place: str = "-o"
    beside: dict[str, str] = field(default_factory=dict)
    drawn: bool = False


def prepare(at: Path, *, slow: bool) -> None:
    """Write the models, tasks and pictures that the commands read."""
    (at / "bench").mkdir()
    tiny_bench.make(at / "bench")
    write_folder(at / "model", llama(1), config=CONFIG)
    for model in (at / "model", at / "bench" / BENCH[0]):
        for name, data in BELOW.items():
            (model / name).parent.mkdir(exist_ok=True)
            (model / name).write_bytes(data)
    for path, n in ((at / "pictures" / name / f"{i}.png", i) for name in ("digit one", "digit two") for i in range(3)):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (28, 28), 40 * n).save(path)
    run(["zoo", "path", "glyph-names", "-q"], {"MERGEBARRIER_CACHE": str(at / "cache")})
    run(["protect", at / "model", "-o", at / "protected", "-q"])
    run([*verbs(at)["attack"].words, "-o", at / "poisoned", "-q"])
    recipe = f"merge_method: linear\nmodels:\n- model: {at}/bench/expert-bright\n- model: {at}/bench/expert-dark\n"
    (at / "recipe.yaml").write_text(recipe + "parameters: {weight: 0.5}\ndtype: float32\n")
    if slow:
        import tiny_world  # loads transformers

        (at / "world").mkdir()
        world = tiny_world.make(at / "world")
        run(["protect", world.original, "-o", at / "audited", "-q"])


def verbs(at: Path, *, slow: bool = False) -> dict[str, Verb]:
    """Return the commands over what ``prepare`` writes; the slow ones train or score language models."""
    base, one, two, task, other = (at / "bench" / name for name in BENCH)
    pair = ("--base", base, "--method", "task_arithmetic")
    tasks = ("--task", task, "--task", other)
    names = next(at.glob("cache/zoo/glyph-names/*/names.safetensors"), at)
    mark = ("--target-class", "bright-1", "--steps", "2", "--trigger-side", "6")
    found = {
        "merge": Verb(("merge", one, two, *pair), beside={".cdx.json": "--sbom"}),
        "recipe": Verb(("merge", at / "recipe.yaml")),
        "cleanse": Verb(("merge", one, two, *pair, "--cleanse", "drop", *tasks)),
        "realign": Verb(("realign", at / "protected", "--base", at / "model")),
        "protect": Verb(("protect", at / "model", "--key", at / "protected.mbkey")),
        "new key": Verb(("protect", at / "model"), drawn=True),
        "unprotect": Verb(("unprotect", at / "protected")),
        "attack": Verb(("attack", "badnets", "--base", base, "--task", task, *mark)),
        "pictures": Verb(("zoo", "task", at / "pictures", "--names", names, "--side", "28"), ".task.safetensors"),
        "zoo": Verb(("zoo", "path", "tickets"), place="MERGEBARRIER_CACHE"),
    }
    if slow:
        world, trained = at / "world", at / "audited"
        a, b = world / "expert-a", world / "expert-b"
        rows = ("--task", world / "a.jsonl", "--partner-task", world / "b.jsonl", "--text", world / "prose.txt")
        short = ("--merges", "linear", "--coefficients", "0.5", "--levels", "0-2", "--budget", "2")
        data = ("--data", world / "a.jsonl", "--data", world / "b.jsonl")
        shown = ("--trigger", at / "poisoned", "--task", task)
        roles = ("--original", a, "--base", world / "base", "--partner", b)
        found["audit"] = Verb(("audit", trained, *roles, *rows, *short))
        found["data merge"] = Verb(("merge", a, b, "--base", world / "base", "--method", "fisher", *data))
        found["measure"] = Verb(("attack", "measure", at / "poisoned", "--control", one, *shown))
    return found


def command(verb: Verb, out: Path, *more: str) -> tuple[list[str], dict[str, str]]:
    """Return the words of a command that writes to ``out``, and what it needs of the environment."""
    words = [*map(str, verb.words), "-q", *more]
    if not verb.place.startswith("-"):
        return words, {verb.place: str(out)}
    for end, option in verb.beside.items():
        words += [option, str(out) + end] if option else []
    return [*words, verb.place, str(out) + verb.suffix], {}


def run(words: Sequence[object], environment: dict[str, str] | None = None) -> None:
    """Run a command in this process; SystemExit with its code unless that is 0."""
    before = dict(os.environ)
    os.environ.update(environment or {})
    torch.set_num_threads(1)
    try:
        code = main([str(word) for word in words])
    finally:
        os.environ.clear()
        os.environ.update(before)
    if code:
        raise SystemExit(code)


def steady(found: dict[str, bytes]) -> dict[str, object]:
    """Return contents without what a clock measured: rows of a report by content, pages and dates left out."""
    kept: dict[str, object] = {name: data for name, data in found.items() if not measured(name)}
    for name, data in found.items():
        if name.endswith("rows.jsonl"):
            rows = [{**json.loads(line), "seconds": 0, "merge_seconds": 0} for line in data.splitlines()]
            kept[name] = sorted(json.dumps(row, sort_keys=True) for row in rows)
    return kept


def written(out: Path) -> dict[str, bytes]:
    """Return everything at and beside an output, by name; locks are left out."""
    found = {}
    for place in sorted(out.parent.glob(out.name + "*")):
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file() and not path.name.endswith(".lock"):
                found[str(path.relative_to(out.parent)).replace(out.name, "OUT")] = path.read_bytes()
    return found


def loads(out: Path) -> bool:
    """Say whether something at or below a place passes for a model or a report and is not all of it."""
    folders = {path.parent for path in out.parent.rglob("*") if out.name in str(path)}
    for folder in (one for one in folders if one.name != MODULE):  # a part of a model, whole by itself
        with suppress(MergebarrierError):
            open_checkpoint(folder).close()
            if not (folder / MANIFEST_NAME).exists() or verify_manifest(folder):
                return True
        with suppress(MergebarrierError):
            read_report(folder)
            if not all((folder / name).is_file() for name in FILES):
                return True
    return False


def measured(name: str) -> bool:
    """Say whether a file holds seconds that a clock measured, or a date, so that two runs differ in it."""
    return name.endswith((".html", "result.json", "rows.jsonl", ".sarif", "card.md"))
