"""The tail of a transformer is the transformer, computed once up to its frozen blocks, saved under the same names."""

import copy

import pytest
import torch

import tiny_vision
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import UnsupportedFeature
from mergebarrier.evaluate import Tail, encoder_tensors, load_encoder, pixels, save_encoder
from mergebarrier.evaluate.images import tail as _tail


@pytest.fixture
def folder(tmp_path):
    return tiny_vision.save("dinov2", tmp_path / "base")


def load(folder):
    with open_checkpoint(folder) as checkpoint:
        return load_encoder(checkpoint)


@pytest.fixture
def x() -> torch.Tensor:
    return pixels(tiny_vision.pictures(5, 3))


@pytest.fixture
def runs(monkeypatch) -> list[int]:
    """How many pictures went through the frozen blocks, call by call."""
    seen, run = [], _tail._Head._run

    def counted(self, pictures):
        seen.append(len(pictures))
        return run(self, pictures)

    monkeypatch.setattr(_tail._Head, "_run", counted)
    return seen


def test_a_tail_says_what_the_whole_says_and_computes_the_rest_once(folder, x, runs) -> None:
    whole, tail = load(folder), Tail(load(folder), 1)
    with torch.no_grad():
        expected = whole(x)
        assert torch.allclose(tail(x), expected, atol=1e-6)
        assert torch.allclose(tail(x[[3, 0]]), expected[[3, 0]], atol=1e-6) and runs == [5]
        stamped = x.clone()
        stamped[0, :, -3:, -3:] = 1.0
        assert torch.allclose(tail(stamped), whole(stamped), atol=1e-6) and runs == [5, 1]
        tail(torch.cat([x[:1], x[:1]]))
        assert runs == [5, 1]


def test_only_the_last_blocks_learn_and_copies_share_the_rest(folder, x, runs) -> None:
    tail = Tail(load(folder), 1)
    names = [name for name, parameter in tail.named_parameters() if parameter.requires_grad]
    assert all(name.startswith(("body.encoder.layer.1.", "body.layernorm.")) for name in names)
    assert len(names) == len(list(tail.parameters())) and not tail.training
    before = tail(x).detach()
    other = copy.deepcopy(tail)
    other(x).square().sum().backward()
    assert runs == [5] and all(parameter.grad is not None for parameter in other.parameters())
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1)
        assert not torch.allclose(other(x), before) and torch.equal(tail(x), before)


def test_a_gradient_reaches_the_pixels_and_is_that_of_the_whole(folder, x) -> None:
    gradients = []
    for encoder in (load(folder), Tail(load(folder), 1)):
        pictures = x.clone().requires_grad_()
        encoder(pictures).square().sum().backward()
        gradients.append(pictures.grad)
    assert torch.allclose(*gradients, atol=1e-5) and float(gradients[0].abs().sum()) > 0


def test_bfloat16_is_near_and_gives_float32(folder, x) -> None:
    exact, rough = (Tail(load(folder), 1, bfloat16=flag)(x) for flag in (False, True))
    assert rough.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(exact, rough).min() > 0.99


def test_a_full_memory_forgets_and_goes_on(folder, x, runs) -> None:
    tail = Tail(load(folder), 1, max_rows=4)
    first, again = tail(x[:3]), tail(x[2:5])
    assert torch.allclose(torch.cat([first, again[1:]]), load(folder)(x), atol=1e-6) and runs == [3, 3]


def test_a_saved_tail_is_a_whole_folder_of_which_the_tail_changed(folder, x, tmp_path) -> None:
    with open_checkpoint(folder) as like:
        tail = Tail(load_encoder(like), 1)
        with torch.no_grad():
            for parameter in tail.parameters():
                parameter.mul_(1.5)
        save_encoder(tail, like, tmp_path / "out", {"verb": "test"})
        with open_checkpoint(tmp_path / "out") as written:
            changed = [name for name in like.tensors if not torch.equal(written.read(name), like.read(name))]
            assert list(written.tensors) == list(like.tensors)
    assert sorted(changed) == sorted(encoder_tensors(tail))
    with torch.no_grad():
        assert torch.allclose(load(tmp_path / "out")(x), tail(x), atol=1e-6)


@pytest.mark.parametrize(("family", "n_blocks"), [("dinov2", 0), ("dinov2", 2), ("glyph", 1), ("clip-vision", 1)])
def test_what_has_no_such_tail_is_refused(family: str, n_blocks: int, tmp_path) -> None:
    encoder = load(tiny_vision.save(family, tmp_path / "model"))
    with pytest.raises(UnsupportedFeature, match="last"):
        Tail(encoder, n_blocks)
