"""What was trained here is written whole: never parts of two trainings, never a folder that would be refused again."""

from pathlib import Path

import pytest
import torch

import mergebarrier as mb
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import NonFinite, OutputExists, PartialOutput
from mergebarrier.evaluate import save_weights


class Stopped(dict[str, torch.Tensor]):
    """Values whose last one is asked for when somebody presses Ctrl-C."""

    def __getitem__(self, name: str) -> torch.Tensor:
        if name == max(self):
            raise KeyboardInterrupt
        return super().__getitem__(name)


@pytest.fixture
def like(save) -> Path:
    tensors = {name: torch.zeros(4, 4) for name in ("a", "b", "c")}
    return save("like", tensors, model_type="toy")


def test_a_run_that_goes_on_mixes_no_tensors_of_two_trainings(like: Path, tmp_path: Path) -> None:
    with open_checkpoint(like) as model:
        first, second = ({name: torch.full((4, 4), value) for name in model.tensors} for value in (1.0, 2.0))
        with pytest.raises(KeyboardInterrupt):
            save_weights(Stopped(first), model, tmp_path / "out", {"verb": "test"})
        assert (tmp_path / "out.partial").is_dir()
        save_weights(second, model, tmp_path / "out", {"verb": "test"}, resume=True)
    with open_checkpoint(tmp_path / "out") as written:
        assert all(torch.equal(written.read(name), second[name]) for name in second)


def test_values_that_would_be_refused_again_leave_nothing(like: Path, tmp_path: Path) -> None:
    with open_checkpoint(like) as model, pytest.raises(NonFinite):
        save_weights({"b": torch.full((4, 4), torch.nan)}, model, tmp_path / "out", {"verb": "test"})
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("out")]


def test_what_could_not_be_written_is_refused_before_anything_is_trained(like: Path, tmp_path: Path) -> None:
    with open_checkpoint(like) as model:
        (tmp_path / "there").mkdir()
        (tmp_path / "there" / "mine").touch()
        (tmp_path / "begun.partial").mkdir()
        for out, fault in (("there", OutputExists), ("begun", PartialOutput), ("like", OutputExists)):
            with pytest.raises(fault):
                mb.WriteOptions().into_claimable(tmp_path / out, None, (model,))
        assert mb.WriteOptions(resume=True).into_claimable(tmp_path / "begun", None, (model,)).resume
