"""Every realignment runs on a device that its code does not name: nothing meets across devices, no bit changes."""

from contextlib import nullcontext
from pathlib import Path

import pytest

import family_models
import tiny_models
from far_device import FAR, FarDevice
from mergebarrier import verbs
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.keys import Key
from mergebarrier.protect import Exact, MergeBarrier, Protection, Widen
from mergebarrier.realign import REALIGNMENTS
from tiny_tokenizer import add_tokenizer, prose

PLAIN, BIASED = "llama-gqa-untied", "llama-mqa-biased"
#: What each undoes; a method that is new here has to be given something.
UNDOES: dict[str, tuple[str, Protection]] = {
    "gaugefix": (PLAIN, Exact(residual="rotate", profile="full")),
    "aga": (PLAIN, Exact()),
    "aga-matched": ("gpt2-tied", Exact(profile="full")),
    "rebasin": ("gpt2-tied", Exact()),
    "flip_again": (PLAIN, MergeBarrier()),
    "fold_width": (PLAIN, Widen()),
    "poly_invert": (BIASED, MergeBarrier(ffn="poly")),
    "base_ffn": (BIASED, MergeBarrier(ffn="poly", ffn_form="compact")),
    "auto": (PLAIN, Widen()),
}


def protected(name: str, protection: Protection, root: Path) -> tuple[Path, Path]:
    """Write a base, and a fine-tune of it as it is protected."""
    base, expert, text = tiny_models.save(name, root / "base"), tiny_models.save_expert(name, root / "expert"), None
    if name == BIASED:  # polynomials are calibrated on many passes of prose, so they are short ones
        for folder in (base, expert):
            module = type(tiny_models.build(name)).from_pretrained(folder)
            module.config.max_position_embeddings = 64
            module.save_pretrained(folder)
        base, expert, text = add_tokenizer(base), add_tokenizer(expert), prose(80, 64)
    key = Key(bytes([1]) * 32) if protection.keyed else None
    with open_checkpoint(expert) as source:
        verbs.protect(source, protection, key, verbs.OutputOptions(root / "out"), text=text)
    return base, root / "out"


def same_on_both(base: Path, model: Path, method: str, root: Path) -> None:
    """Hold what the processor writes against a device that refuses what a graphics processor refuses."""
    found = []
    for device, place in (("cpu", nullcontext()), (FAR, far := FarDevice())):
        with open_checkpoint(model) as source, open_checkpoint(base) as anchor, place:
            into = verbs.OutputOptions(root / f"on-{device}")
            content, _ = verbs.realign(source, anchor, REALIGNMENTS[method], into, device)
        found.append((content["output"]["content_digest"], content.get("device")))
    assert found == [(found[0][0], None), (found[0][0], FAR)]
    assert far.used > 100, "it was computed elsewhere"


@pytest.mark.parametrize(
    "method",
    [one if one == "gaugefix" else pytest.param(one, marks=pytest.mark.slow) for one in REALIGNMENTS],
)
def test_it_writes_what_the_processor_writes(method, tmp_path):
    name, protection = UNDOES[method]
    base, model = protected(name, protection, tmp_path)
    same_on_both(base, model, method, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt_oss", "mixtral"])
def test_stacks_of_experts_go_there_entry_by_entry(name, tmp_path):
    base = family_models.save(name, tmp_path / "base")
    expert = family_models.save(name, tmp_path / "expert")
    family_models.nudge(expert)
    with open_checkpoint(expert) as source:
        verbs.protect(source, Exact(), Key(bytes([1]) * 32), verbs.OutputOptions(tmp_path / "out"))
    same_on_both(base, tmp_path / "out", "rebasin", tmp_path)
