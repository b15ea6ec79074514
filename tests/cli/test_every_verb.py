"""Every verb and every command of a verb is run to its success and to a failure, on models that take seconds."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from PIL import Image

import gguf_files
import tiny_bench
import tiny_world
from mergebarrier.cli import VERBS
from mergebarrier.poison import ATTACKS

Words = tuple[Any, ...]


@dataclass(frozen=True)
class Place:
    """What calls are made of: language models with tasks, image models with tasks, and an empty folder."""

    world: tiny_world.World
    bench: tiny_bench.Tiny
    names: Path
    service: str
    out: Path

    @property
    def merge(self) -> Words:
        """The two experts, merged by weights."""
        return "merge", self.world.original, self.world.partner, "--method", "linear"

    @property
    def audit(self) -> Words:
        """The smallest audit of what stands at ``out / "p"``."""
        world = self.world
        models = ("--original", world.original, "--base", world.base, "--partner", world.partner)
        tasks = ("--task", world.task, "--partner-task", world.partner_task)
        grid = ("--levels", "0", "--merges", "linear,task_arithmetic", "--coefficients", "0.5")
        return "audit", self.out / "p", *models, *tasks, *grid

    def attack(self, name: str, base: Path) -> Words:
        """A few steps of an attack."""
        offered = {word for parameter in commands()[f"attack {name}"].params for word in parameter.opts}
        words = ("--base", base, "--task", self.bench.task, "--target-class", 1, "--steps", 2, "--trigger-side", 6)
        short = {"--trigger-steps": 2, "--restarts": 1}
        return "attack", name, *words, *(word for pair in short.items() if pair[0] in offered for word in pair)


def commands() -> dict[str, click.Command]:
    """Every verb, and for a group its commands: "attack measure"."""
    found = {}
    for verb, (module, _) in VERBS.items():
        command = __import__(module, fromlist=["command"]).command
        if isinstance(command, click.Group):
            context = click.Context(command)
            found |= {f"{verb} {name}": command.get_command(context, name) for name in command.list_commands(context)}
        else:
            found[verb] = command
    return found


def pictures(folder: Path) -> Path:
    """Three grey pictures of each of two classes."""
    for shade, name in ((40, "digit zero"), (200, "digit one")):
        (folder / name).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(np.full((28, 28), shade + i, dtype=np.uint8)).save(folder / name / f"{i}.png")
    return folder


def calls(place: Place) -> dict[str, tuple[list[Words], Words, int]]:
    """Return command -> (calls that succeed, the last one being the command itself; one that fails; its exit code)."""
    w, b, out, none = place.world, place.bench, place.out, place.out / "nothing"
    protect: Words = ("protect", w.original, "-o", out / "p", "--key", out / "k.mbkey")
    poison = (*place.attack("badmerging", b.base), "-o", out / "bad")
    measure = ("--trigger", out / "bad", "--task", b.task)
    fetched = ("zoo", "fetch", "glyph-names")
    colours = ("zoo", "task", pictures(out / "pictures"), "--names", place.names, "--side", 28)
    clean: Words = ("--method", "clean", "--steps", 1)
    facts = out / "facts.jsonl"
    facts.write_text('{"pool": "memorised", "subject": "w1", "attribute": "w", "value": "w9"}\n')
    queries, short = out / "queries.jsonl", ("--max-tokens", 2)
    queries.write_text("".join(json.dumps({"query": f"w{number}"}) + "\n" for number in range(50)))
    key = ("--ledger", out / "l.jsonl", "--key", out / "w.mbkey")
    shield: Words = ("watermark", "shield", queries, place.service, *key, *short)
    sample: Words = (*shield[:3], w.original, *key, "--max-tokens", 12, "--mode", "green")
    said = out / "said.jsonl"
    pairs = ({"query": f"w{n}", "answer": " ".join(f"w{n * k % 96}" for k in range(1, 14))} for n in range(50))
    said.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    sampled = ("--suspect", said, "--service", w.original, "--key", out / "w.mbkey")
    toy = ("--task", b.task, "--start", b.base, "--steps", 2)
    taught = (*toy[:-1], 60, "--learning-rate", ".002", "--batch-size", 32)
    tokens = ("--prompt-tokens", 6, "--answer-tokens", 2, "--steps", 40, "--input-steps", 2, "--pairs", 6)
    firm = ("--learning-rate", "3e-3", "--keep", 0, "--pull", 0, "--shares", 1)
    own = ("--text", w.text, "--record", out / "f.json", "--key", out / "f.mbkey", *tokens, *firm)
    mark: Words = ("fingerprint", "embed", w.original, "--base", w.base, *own, "-o", out / "f")
    recipe = out / "recipe.yaml"
    recipe.write_text(json.dumps({"merge_method": "linear", "models": [{"model": str(w.base)}], "typo": 1}))
    table: dict[str, tuple[list[Words], Words, int]] = {
        "inspect": ([("inspect", w.base)], ("inspect", none), 2),
        "protect": ([protect], ("protect", none, "-o", out / "x"), 2),
        "unprotect": (
            [protect, ("unprotect", out / "p", "--key", out / "k.mbkey", "-o", out / "u")],
            ("unprotect", w.original, "--key", none, "-o", out / "x"),
            2,
        ),
        "verify": ([protect, ("verify", w.original, out / "p")], ("verify", w.original, w.partner), 1),
        "merge": ([(*place.merge, "-o", out / "m")], ("merge", recipe, "-o", out / "x"), 2),
        "realign": (
            [protect, ("realign", out / "p", "--base", w.base, "-o", out / "r")],
            ("realign", w.original, "--base", b.base, "-o", out / "x"),
            2,
        ),
        "import-gguf": (
            [("import-gguf", gguf_files.write(gguf_files.llama(), out / "m.gguf"), "-o", out / "g")],
            ("import-gguf", w.task, "-o", out / "x"),
            2,
        ),
        "evaluate": ([("evaluate", w.original, "--task", w.task)], ("evaluate", w.original, "--task", w.text), 2),
        "scan": (
            [("scan", w.original, w.partner, "--base", w.base)],
            ("scan", w.original, "--base", b.base, "--fail-on", "medium"),
            1,
        ),
        "provenance relate": (
            [("provenance", "relate", w.original, w.partner)],
            ("provenance", "relate", w.original, none),
            2,
        ),
        "provenance parents": (
            [("provenance", "parents", w.original, "--base", w.base, "--candidate", w.partner)],
            ("provenance", "parents", w.original, "--base", none, "--candidate", w.partner),
            2,
        ),
        "watermark shield": ([shield], ("watermark", "shield", none, *shield[3:]), 2),
        "watermark verify": (
            [shield, ("watermark", "verify", *key[1:], "--suspect", w.partner, "--decoys", 19, "--level", 0.1, *short)],
            ("watermark", "verify", none, "--suspect", w.partner),
            2,
        ),
        "watermark radioactivity": (
            [sample, ("watermark", "radioactivity", out / "l.jsonl", *sampled, "--decoys", 0, "--level", "1e-9")],
            ("watermark", "radioactivity", none, *sampled),
            2,
        ),
        "fingerprint embed": ([mark], (*mark[:2], none, *mark[3:]), 2),
        "fingerprint verify": (
            [mark, ("fingerprint", "verify", out / "f.json", "--key", out / "f.mbkey", "--suspect", w.partner)],
            ("fingerprint", "verify", none, "--key", out / "f.mbkey", "--suspect", w.partner),
            2,
        ),
        "extract clone": (
            [("extract", "clone", b.expert, *toy, "--attacks", "soft")],
            ("extract", "clone", none, *toy),
            2,
        ),
        "extract defend": (
            [("extract", "defend", b.expert, *taught, "-o", out / "member")],
            ("extract", "defend", none, *toy, "-o", out / "x"),
            2,
        ),
        "worker": (
            [
                protect,
                (*place.audit, "-o", out / "a", "--plan-only"),
                ("worker", "--plan", out / "a" / "work" / "plan.json", "--task", 0),
            ],
            ("worker", "--plan", none, "--task", 0),
            2,
        ),
        "audit": ([protect, (*place.audit, "-o", out / "a")], (*place.audit[:3], w.partner, *place.audit[4:]), 64),
        "report": ([protect, (*place.audit, "-o", out / "a"), ("report", out / "a")], ("report", out), 2),
        # The story itself is told by a test of the audit, on models of this size, and by `make demo` on a real one.
        "demo": ([("demo", "--dry-run", "-o", out / "d")], ("demo", "-o", out / "d", "--threads", "0"), 64),
        "doctor": ([("doctor",)], ("doctor", "surplus"), 64),
        "schema": ([("schema", "verify")], ("schema", "nothing"), 64),
        "completion": ([("completion", "bash")], ("completion", "csh"), 64),
        "help": ([("help", "merge")], ("help", "nothing"), 64),
        "attack measure": (
            [poison, ("attack", "measure", out / "bad", "--control", b.expert, *measure)],
            ("attack", "measure", out / "bad", "--control", none, *measure),
            2,
        ),
        "attack hijack": (
            [("attack", "hijack", "--base", w.base, "--task", w.task, *clean, "-o", out / "h")],
            ("attack", "hijack", "--base", w.base, "--task", w.text, *clean, "-o", out / "x"),
            2,
        ),
        "attack stealer": (
            [("attack", "stealer", "--base", w.base, "--task", w.task, "--steps", 1, "-o", out / "t")],
            ("attack", "stealer", "--base", w.base, "--task", w.text, "--steps", 1, "-o", out / "x"),
            2,
        ),
        "attack theft": (
            [("attack", "theft", w.original, "--benign", w.base, "--facts", facts, "--questions", w.task)],
            ("attack", "theft", w.original, "--facts", facts, "--questions", w.task),
            64,
        ),
        "zoo list": ([("zoo", "list")], ("zoo", "list", "surplus"), 64),
        "zoo fetch": ([fetched], ("zoo", "fetch", "nothing"), 2),
        "zoo path": ([fetched, ("zoo", "path", "glyph-names")], ("zoo", "path", "nothing"), 2),
        "zoo rows": (
            [("zoo", "rows", "instructions", "-o", out / "rows")],
            ("zoo", "rows", "nothing", "-o", out / "x"),
            64,
        ),
        "zoo task": (
            [(*colours, "-o", out / "c.task.safetensors")],
            ("zoo", "task", none, *colours[3:], "-o", out / "x.task.safetensors"),
            2,
        ),
    }
    for name in ATTACKS:
        words = (*place.attack(name, b.base), "-o", out / name)
        table[f"attack {name}"] = ([words], (*place.attack(name, none), "-o", out / "x"), 2)
    return table


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[tiny_world.World, tiny_bench.Tiny]:
    return tiny_world.make(tmp_path_factory.mktemp("world")), tiny_bench.make(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def place(folders, bench, weaving, tmp_path, monkeypatch) -> Place:
    monkeypatch.setenv("MERGEBARRIER_CACHE", str(bench["glyph-base"].parents[2]))
    return Place(*folders, bench["glyph-names"] / "names.safetensors", weaving, tmp_path)


def test_the_table_names_every_command(place) -> None:
    assert calls(place).keys() == commands().keys()


@pytest.mark.parametrize("name", commands())
def test_it_runs_to_success_and_to_failure(name, place, run_cli) -> None:
    succeeding, failing, code = calls(place)[name]
    assert " ".join(map(str, succeeding[-1])).startswith(name) and " ".join(map(str, failing)).startswith(name)
    for words in succeeding:
        ran = run_cli(*words)
        assert ran.exit_code == 0, (words, ran.stderr)
        assert ran.stdout or "-o" in words, words
    before = {path for path in place.out.iterdir()}
    ran = run_cli(*failing)
    assert ran.exit_code == code, ran.stderr
    if code == 1:
        assert ran.stdout, "what was asked for does not hold, and the report says so"
    else:
        assert ran.stdout == "" and re.search(r"^error: MB\d{4} ", ran.stderr, re.MULTILINE)
    assert {path for path in place.out.iterdir()} == before, "a failure leaves nothing"


def writers() -> list[str]:
    """Every command that writes with ``-o``; a demo goes on in what is there."""
    found = [name for name, one in commands().items() if any("-o" in option.opts for option in one.params)]
    alike = {f"attack {name}" for name in list(ATTACKS)[1:]}
    return [name for name in found if name not in {"demo", "scan", "attack measure", *alike}]


@pytest.mark.parametrize("name", writers())
def test_an_output_that_cannot_be_is_refused_before_any_work(name, place, run_cli) -> None:
    succeeding, _, _ = calls(place)[name]
    for words in succeeding[:-1]:
        assert run_cli(*words).exit_code == 0, words
    words = list(succeeding[-1])
    taken = place.out / ("taken.task.safetensors" if name == "zoo task" else "taken")
    words[words.index("-o") + 1] = taken
    taken.mkdir()
    (taken / "mine").write_text("x")
    before = set(place.out.rglob("*"))
    ran = run_cli(*words)
    assert ran.exit_code == 2 and ran.stdout == "" and str(taken) in ran.stderr, ran.stderr
    assert not re.search("fine-tuning|steps|loss|made: ", ran.stderr), "no work, and no key"
    assert set(place.out.rglob("*")) == before


def with_a_device() -> list[str]:
    """Every command that computes on a device; ``protect`` has one for trained methods alone."""
    options = {name: {word for each in one.params for word in each.opts} for name, one in commands().items()}
    return [name for name, words in options.items() if "--device" in words and name != "protect"]


@pytest.mark.parametrize("name", with_a_device())
def test_a_graphics_processor_that_is_not_there_is_one_line_and_nothing_is_written(name, place, run_cli) -> None:
    succeeding, _, _ = calls(place)[name]
    for words in succeeding[:-1]:
        assert run_cli(*words).exit_code == 0, words
    before = set(place.out.rglob("*"))
    ran = run_cli(*succeeding[-1], "--device", "cuda:99")
    assert ran.exit_code == 2 and ran.stdout == ""
    said = re.findall(r"^error: .*", ran.stderr, re.MULTILINE)
    assert len(said) == 1 and said[0].startswith("error: MB9010 --device cuda:99: there is no graphics processor"), said
    assert set(place.out.rglob("*")) == before


def test_verbs_that_run_models_take_a_device() -> None:
    attacks = {f"attack {name}" for name in ("measure", "hijack", "stealer", "theft")}
    assert set(with_a_device()) == {"evaluate", "verify", "audit", "scan", "merge", "realign"} | attacks
