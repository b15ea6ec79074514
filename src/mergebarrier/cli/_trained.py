"""``protect --method M`` for a method that is trained: what it is given, the run, and what people read of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mergebarrier.cli._options import WriterOptions
from mergebarrier.cli._output import Output
from mergebarrier.errors import UsageError

if TYPE_CHECKING:
    from mergebarrier.api import ProtectReport, TrainingOptions
    from mergebarrier.protect import TrainedProtection

__all__ = ["GivenTraining", "run"]


@dataclass(frozen=True, kw_only=True)
class GivenTraining:
    """What was given of options that a training alone has, and of those that it shares; each as on the command line."""

    data: Path | None
    validation: Path | None
    siblings: tuple[Path, ...]
    sibling_data: tuple[Path, ...]
    form: str | None
    device: str | None
    text: Path | None
    base: Path | None
    key: Path | None
    adapters: tuple[Path, ...]
    do_not_merge: bool
    download: bool

    def options(self, method: str, seed: int) -> "TrainingOptions":
        """Return what the front door takes; UsageError for what is missing or has no meaning here."""
        from mergebarrier.api import TrainingOptions

        for option, given in (("--key", self.key), ("--adapter", self.adapters)):
            if given:
                what = "has no key" if option == "--key" else "moves no other adapter along"
                raise UsageError(f"{method} {what}", where=option, remedy=f"leave {option} out")
        if self.data is None:
            raise UsageError(f"{method} is trained, on rows of its task", where="--data", remedy="give --data FILE")
        return TrainingOptions(
            data=self.data,
            validation=self.validation,
            text=self.text,
            siblings=self.siblings,
            sibling_data=self.sibling_data,
            adapter=None if self.form is None else self.form == "adapter",
            device=self.device or "cpu",
            seed=seed,
            do_not_merge=self.do_not_merge,
        )


def run(
    model: Path, protection: "TrainedProtection", given: GivenTraining, writer: WriterOptions, output: Output
) -> None:
    """Train, or say what would be trained."""
    from mergebarrier.api import plan_training, protect_by_training

    options = given.options(protection.name, writer.seed)
    if given.base is None:
        remedy = "give --base, the model that the expert was fine-tuned from"
        raise UsageError(f"{protection.name} needs the base", where="--base", remedy=remedy)
    if writer.dry_run:
        output.plan(plan_training(model, given.base, method=protection, options=options, download=given.download))
        return
    with output.progress("training") as progress:
        report = protect_by_training(
            model,
            given.base,
            writer.folder,
            method=protection,
            options=options,
            write=writer.write(),
            download=given.download,
            say=output.note,
            progress=progress,
        )
    output.result(report, "\n".join(lines(report)))


def lines(report: "ProtectReport") -> list[str]:
    """Return what people read."""
    found = report.trained
    assert found is not None
    plain, ours, twin = (found["cost"][name] for name in ("plain", "protected", "control"))
    scales, rounded = found["scales"]["s"], found["rounded"]["int4"]
    at = scales.index(0.6)
    said = [
        f"{report.out}: protected by {report.method}, published as {report.variant}",
        f"Loss on rows held out: {ours['loss']:.4f} (the expert {plain['loss']:.4f}, the control {twin['loss']:.4f})",
        "Loss at scale 0.6: "
        + ", ".join(f"{found['scales'][name][at]:.3f} ({name})" for name in ("protected", "plain", "control")),
        f"Loss in int4: {rounded['protected']:.4f} (the expert {rounded['plain']:.4f})",
    ]
    if found["override"]:
        least = min(found["override"].values())
        said.append(f"Answers as the expert does without any merge: at least {100 * least:.1f} % of the tokens")
    said += [
        f"Taken of --{name}: {value:g}; the {report.parameters[name]:g} that was asked would have left the budget"
        for name, value in found.get("taken", {}).items()
    ]
    said += [f"As {name}: loss {cost['loss']:.4f}" for name, cost in found["forms"].items()]
    return [*said, report.limit, "There is no key: keep the expert; nothing gives it back."]
