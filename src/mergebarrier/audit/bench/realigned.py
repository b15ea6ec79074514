"""Realigned models of an audit: each written once into the work folder, and found there by a resumed audit.

A folder is reused only when its manifest says that it was made by the same version of the same attack from the same
weights; its time is that of the run that made it.  What a file shows by itself (polynomials, widened layers) is undone
before its coordinates are, one folder per step.
"""

from collections.abc import Mapping
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from mergebarrier import __version__
from mergebarrier.audit.bench.workbench import Bench
from mergebarrier.errors import InternalError
from mergebarrier.merge import computed_on

if TYPE_CHECKING:
    from mergebarrier.realign import Realignment


def realigned(
    bench: Bench,
    source: str,
    role: str,
    realignment: "Realignment",
    folder: str,
    *,
    anchor: str = "base",
    device: str | None = None,
) -> float:
    """Realign a model to the base, or to another anchor, and open the result.

    Args:
      bench:       holds the models.
      source:      role of the model to realign.
      role:        role under which the result is opened.
      realignment: the attack.
      folder:      name of the result inside the work folder.
      anchor:      role of what it is realigned to.
      device:      where it is computed; None for where the models of the bench run.
    Returns: seconds that the attack took.
    Raises:  whatever the attack refuses (BaseMismatch, UnknownFamily, ...).
    """
    out, place = bench.spec.work / folder, bench.device if device is None else device
    parameters = asdict(realignment)
    inputs = [bench.digest(role) for role in (source, anchor)[: 1 + realignment.needs_base]]
    identity = {"inputs": inputs, "method": realignment.name, "parameters": parameters, **computed_on(place)}

    def run() -> dict[str, float]:
        from mergebarrier import verbs

        bench.live.release()
        spec = bench.spec
        into = verbs.OutputOptions(out, overwrite=True, workers=spec.workers, max_ram_bytes=spec.max_ram_bytes)
        verbs.realign(bench.checkpoints[source], bench.checkpoints[anchor], realignment, into, place)
        return {"weights": bench.n_weights}

    done = bench.measure(realignment.name, source, identity, run)
    if not _made(out, identity):
        run()
    bench.admit(role, out)
    return done.seconds


def undone(
    bench: Bench, source: str, role: str, folder: str, *, last: "Realignment | None" = None, anchor: str = "base"
) -> float:
    """Undo what a file shows, and realign what is left to an anchor; arguments as ``realigned``.

    ``last`` is the attack against the anchor, None for the one that keeps the function.
    """
    from mergebarrier.circuits import describe
    from mergebarrier.realign import Auto

    seconds, first = 0.0, source
    for number in count(1):
        model = bench.checkpoints[source]
        _, method = Auto().step(describe(model), model, bench.checkpoints[anchor])
        if method.needs_base:
            return seconds + realigned(bench, source, role, last or method, folder, anchor=anchor)
        before = f"{first}, undone {number}"
        seconds += realigned(bench, source, before, method, before.replace(", ", "-").replace(" ", "-"))
        source = before
    raise InternalError("a chain of attacks has no end", where=source)


def _made(out: Path, identity: Mapping[str, object]) -> bool:
    from mergebarrier.checkpoint import read_finished
    from mergebarrier.errors import BadManifest

    try:
        content = read_finished(out)["content"]
    except BadManifest:
        return False
    if content.get("verb") != "realign":
        return False
    found: dict[str, object] = {
        "inputs": [source["content_digest"] for source in content["inputs"]],
        "method": content["method"],
        "parameters": content["parameters"],
        **{name: value for name, value in content.items() if name == "device"},
    }
    return bool(content["tool"]["version"] == __version__ and found == identity)
