"""A program on the front door that must type-check, strictly: what users write, with what comes back."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import mergebarrier as mb


def protected(model: str | Path) -> mb.ProtectReport:
    steps: list[float] = []

    def progress(done: int, total: int) -> None:
        steps.append(done / total)

    write = mb.WriteOptions(overwrite=True, workers=2)
    report = mb.protect(model, "out", key="k.mbkey", method=mb.Exact(profile="full"), write=write, progress=progress)
    mb.protect(model, Path("out"), method=mb.MergeBarrier(), key=mb.Key(b"1" * 32))
    mb.unprotect("out", "back", key="k.mbkey")
    return report


def merged(models: Sequence[str]) -> mb.MergeReport:
    mb.merge(recipe="recipe.yaml", out="by-recipe")
    mb.merge(models, "out", method="regmean", data=[f"{model}.jsonl" for model in models])
    with mb.open_checkpoint(models[0]) as first:
        return mb.merge([first, *models[1:]], "out", base="base", method=mb.Ties(density=0.5))


def judged(model: str) -> tuple[bool, float | None, Mapping[str, object]]:
    report = mb.verify(model, "protected", dtype="auto")
    document: Mapping[str, object] = report.to_dict()
    return report.equal, report.kl_nats, document


def measured(model: str) -> str:
    report = mb.evaluate(model, tasks=["a.jsonl"], text=Path("prose.txt"), dtype="float32", max_items=8)
    mb.scan([model, "other"], base="base", merge=mb.TaskArithmetic(coefficient=0.5), fail_on="medium")
    mb.realign(model, "realigned", base="base", method=mb.GaugeFix())
    mb.audit(
        model, original="original", base="base", partner="partner", task="a.jsonl", partner_task="b.jsonl", out="report"
    )
    return report.dtype


def refused(model: str) -> tuple[str, str, int]:
    try:
        mb.inspect(model)
    except mb.MergebarrierError as error:
        return error.code, error.remedy, error.exit_code
    return "", "", 0
