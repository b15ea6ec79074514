"""Kill a run again and again, at random moments or before every single call that writes, and look at what is left.

    python kill_lab.py MODE SOURCE WORK SEED COUNT        MODE: random | every | overwrite

Each victim is a fork of this process, so a kill costs milliseconds.  Prints one JSON document.
"""

import json
import random
import signal
import sys
from functools import partial
from pathlib import Path

import torch

from killing import finish, killed_before, killed_soon_after, writes_of
from mergebarrier.checkpoint import Writer, layout_like, open_checkpoint, verify_manifest
from mergebarrier.errors import MergebarrierError
from mergebarrier.run import transform


class Half:
    """One half of a layer."""

    rowwise = False
    streamed = False

    def __init__(self, name: str, tensors: tuple[str, ...]) -> None:
        self.name, self.tensors = name, tensors


def units(names: list[str]) -> list[Half]:
    halves: dict[str, list[str]] = {}
    for name in names:
        if "layers" in name:
            halves.setdefault(".".join(name.split(".")[:4]), []).append(name)
    return [Half(key, tuple(members)) for key, members in halves.items()]


def job(source: Path, out: Path, workers: int, **flags: bool) -> None:
    """What ``protect`` does, in small: claim, stream, commit."""
    with open_checkpoint(source) as checkpoint:
        plan = {"input": checkpoint.content_digest()}
        writer = Writer.create(out, layout_like(checkpoint), plan=plan, inputs=[source], **flags)
        try:
            transform(
                [checkpoint],
                writer,
                units(list(checkpoint.tensors)),
                lambda unit, blocks: {name: torch.flip(tensor, [0]) for name, tensor in blocks[0].items()},
                workers=workers,
            )
            side_files = {name: checkpoint.read_side_file(name) for name in checkpoint.side_files}
            writer.commit({"verb": "flip"}, {}, side_files, workers=workers)
        finally:
            writer.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def loads(folder: Path) -> bool:
    """Does anything there pass for a model, for us or for anybody who looks for the usual names?"""
    if not folder.is_dir():
        return False
    try:
        open_checkpoint(folder).close()
        return True
    except MergebarrierError:
        names = {path.name for path in folder.iterdir()}
        return "config.json" in names and any(name.endswith(".safetensors") for name in names)


class Lab:
    """One source, one reference, and what was seen."""

    def __init__(self, source: Path, work: Path) -> None:
        self.source, self.work = source, work
        finish(partial(job, source, work / "reference", 1))
        self.reference = contents(work / "reference")
        self.seen = {"kills": 0, "absent": 0, "partial": 0, "complete": 0, "resumed_units": 0, "window": 0}

    def inspect(self, out: Path) -> None:
        """After a kill: nothing, a partial folder that is no model, or the complete output."""
        self.seen["kills"] += 1
        unfinished = out.with_name(out.name + ".partial")
        if out.exists():
            assert verify_manifest(out) == [] and contents(out) == self.reference, f"{out} is incomplete"
            self.seen["complete"] += 1
            return
        assert not loads(unfinished), f"{unfinished} loads"
        if loads(unfinished / "model"):
            # Between two renames the finished folder waits for its name; it must be finished indeed.
            names = {name for name in self.reference if name.endswith((".safetensors", "config.json", "index.json"))}
            found = contents(unfinished / "model")
            assert all(found.get(name) == self.reference[name] for name in names), (
                f"{unfinished / 'model'} is half a model"
            )
            self.seen["window"] += 1
        self.seen["partial" if unfinished.exists() else "absent"] += 1
        if (unfinished / "tasks").is_dir():
            self.seen["resumed_units"] += len(list((unfinished / "tasks").glob("*.done")))

    def resume(self, out: Path, workers: int, **flags: bool) -> None:
        """The same command with --resume ends with the same bytes."""
        finish(partial(job, self.source, out, workers, resume=True, **flags))
        assert contents(out) == self.reference, "resumed bytes differ"
        assert not out.with_name(out.name + ".partial").exists()

    def start_again(self, out: Path, call: int) -> None:
        """The same command with --overwrite is killed while it clears the folder, and then ends with the same bytes."""
        again = partial(job, self.source, out, 1, overwrite=True)
        assert killed_before(call, again) == signal.SIGKILL
        finish(again)
        assert contents(out) == self.reference, "bytes differ after a start from new"
        assert not out.with_name(out.name + ".partial").exists()


def at_random(lab: Lab, seed: int, count: int) -> None:
    """Kill at ``count`` random moments, every third time once more during the resume; from within and from outside."""
    rng = random.Random(seed)
    calls = {n: writes_of(partial(job, lab.source, lab.work / f"counted{n}", n)) for n in (1, 2)}
    for i in range(count):
        out, workers = lab.work / f"random{i}", 1 + i % 2
        kill = (killed_before, killed_soon_after)[i // 2 % 2]
        for flags in ({}, {"resume": True})[: 1 + (i % 3 == 0)]:
            kill(rng.randint(1, calls[workers]), partial(job, lab.source, out, workers, **flags))
            lab.inspect(out)
        lab.resume(out, 3 - workers)


def before_every_call(lab: Lab, step: int) -> None:
    """Kill before the 1st, the (1 + step)-th, ... call that writes."""
    call, status = 1, 1
    while status != 0:
        out = lab.work / f"call{call}"
        status = killed_before(call, partial(job, lab.source, out, 1))
        assert status in (0, signal.SIGKILL)
        if status:
            lab.inspect(out)
            lab.resume(out, 1) if call % 2 else lab.start_again(out, 1 + call % 24)
        call += step


def while_overwriting(lab: Lab, step: int) -> None:
    """Kill while an old output is replaced: the old one, the new one, or both are whole."""
    call, status = 1, 1
    while status != 0:
        out = lab.work / f"over{call}"
        finish(partial(job, lab.work / "other", out, 1))
        old = contents(out)
        status = killed_before(call, partial(job, lab.source, out, 1, overwrite=True))
        assert status in (0, signal.SIGKILL)
        if status:
            lab.seen["kills"] += 1
            replaced = out.with_name(out.name + ".replaced")
            if out.exists():
                assert contents(out) in (old, lab.reference)
            else:
                assert contents(replaced) == old
                lab.seen["window"] += 1
            lab.resume(out, 1, overwrite=True)
            assert not replaced.exists()
        call += step


def main() -> None:
    mode, source, work, seed, count = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), *map(int, sys.argv[4:6])
    torch.set_num_threads(1)
    lab = Lab(source, work)
    {
        "random": lambda: at_random(lab, seed, count),
        "every": lambda: before_every_call(lab, count),
        "overwrite": lambda: while_overwriting(lab, count),
    }[mode]()
    print(json.dumps(lab.seen))


if __name__ == "__main__":
    main()
