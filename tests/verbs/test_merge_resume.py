"""A merge that was cut short goes on with what it has, unless its inputs changed: then it redoes what they touch."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from merge_models import tensors
from mergebarrier import verbs
from mergebarrier.checkpoint import BLAKE3, Writer, open_checkpoint, read_manifest
from mergebarrier.errors import OutputExists
from mergebarrier.merge import MergeUnit, make, plan


def run(
    folders: list[Path], out: Path, *, scope: str = "tensor", stop_after: int | None = None, **how: bool
) -> list[str]:
    """Merge; return the tensors that were computed.  Every tensor is a unit of its own here."""
    computed: list[str] = []
    with open_checkpoint(folders[0]) as base, open_checkpoint(folders[1]) as a, open_checkpoint(folders[2]) as b:
        job = verbs.whole_models(plan(make("ties", density=0.5, scope=scope), base, [a, b]))

        merge = job.apply()

        def apply(unit, blocks):
            if len(computed) == stop_after:
                raise KeyboardInterrupt
            computed.append(unit.name)
            return merge(unit, blocks)

        units = [MergeUnit(name, (name,), False) for name in base.tensors]
        verbs.merge(replace(job, units=units, apply=lambda: apply), verbs.OutputOptions(out, **how))
    return computed


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def folders(save) -> list[Path]:
    return [save(name, tensors(i)) for i, name in enumerate(("base", "a", "b"))]


def cut_short(folders: list[Path], out: Path, **how: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(folders, out, stop_after=2, **how)
    assert not out.exists()


def rewrite(folder: Path, name: str) -> None:
    from safetensors.torch import load_file, save_file

    held = load_file(folder / "model.safetensors")
    save_file(held | {name: held[name] + 1}, folder / "model.safetensors", metadata={"format": "pt"})


def test_what_is_finished_is_not_merged_again(folders, tmp_path) -> None:
    run(folders, tmp_path / "whole")
    cut_short(folders, tmp_path / "out")
    assert len(run(folders, tmp_path / "out", resume=True)) == 1
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_tensor_that_changed_is_merged_again_and_nothing_else(folders, tmp_path) -> None:
    cut_short(folders, tmp_path / "out")
    largest_first = sorted(tensors(0), key=lambda name: -tensors(0)[name].numel())
    rewrite(folders[2], largest_first[0])
    assert run(folders, tmp_path / "out", resume=True) == [largest_first[0], largest_first[2]]
    run(folders, tmp_path / "whole")
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_cut_over_the_whole_model_is_made_again_when_any_tensor_changed(folders, tmp_path) -> None:
    cut_short(folders, tmp_path / "out", scope="model")
    rewrite(folders[2], min(tensors(0), key=lambda name: tensors(0)[name].numel()))
    assert len(run(folders, tmp_path / "out", scope="model", resume=True)) == 3
    run(folders, tmp_path / "whole", scope="model")
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_complete_merge_of_other_weights_is_not_taken_for_this_one(folders, tmp_path) -> None:
    run(folders, tmp_path / "out")
    assert run(folders, tmp_path / "out", resume=True) == []
    rewrite(folders[1], "model.norm.weight")
    with pytest.raises(OutputExists, match="a merge of other weights"):
        run(folders, tmp_path / "out", resume=True)


def test_a_unit_that_does_not_say_what_it_was_made_of_is_done_again(folders, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(Writer, "made_of", lambda writer, unit: None)
    cut_short(folders, tmp_path / "out")
    assert len(run(folders, tmp_path / "out", resume=True)) == 3


def test_inputs_are_hashed_as_a_pass_of_its_own_would(folders, tmp_path) -> None:
    run(folders, tmp_path / "out")
    for folder, listed in zip(folders, read_manifest(tmp_path / "out")["content"]["inputs"], strict=True):
        with open_checkpoint(folder) as checkpoint:
            assert listed["tensors"] == checkpoint.digests(hashing=BLAKE3)
            assert listed["content_digest"] == checkpoint.content_digest(hashing=BLAKE3)


def test_rows_read_in_any_order_leave_the_digest_of_the_whole(save) -> None:
    folder = save("model", {"w": torch.arange(24.0).reshape(6, 4), "v": torch.zeros(0, 3), "s": torch.tensor(2.0)})
    with open_checkpoint(folder) as plain, open_checkpoint(folder) as watched:
        watched.stream()
        for start, stop in ((2, 4), (0, 2), (4, 6), (0, 3), (0, 2), (2, 6)):
            watched.read_rows("w", start, stop)
        assert watched.digests(hashing=BLAKE3) == plain.digests(hashing=BLAKE3)
        assert watched.digests() == plain.digests()
