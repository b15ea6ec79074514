"""Files of other formats are read as data: arrays without running them, pictures by their headers, a graph by name."""

import gzip
import pickle

import numpy as np
import pytest
import torch

from mergebarrier.errors import AssetMissing
from mergebarrier.zoo.dino import dino_tasks, dinov2, grey_pictures
from mergebarrier.zoo.dino.array_file import read_array


def old_style(array: np.ndarray) -> bytes:
    """What numpy 1 wrote in protocol 4."""
    return pickle.dumps(array, protocol=4).replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")


@pytest.mark.parametrize("shape", [(3,), (4, 5), (2, 3, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_an_array_is_read_without_being_obeyed(shape, dtype) -> None:
    array = np.arange(np.prod(shape)).astype(dtype).reshape(shape)
    found = read_array(old_style(array), "x")
    assert found.dtype == dtype and np.array_equal(found, array)


class Evil:
    def __reduce__(self):
        return eval, ("pytest.fail('it ran')",)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04.",
        pickle.dumps(Evil(), protocol=4),
        pickle.dumps([1, 2], protocol=4),
        pickle.dumps(np.zeros(3), protocol=4),
        old_style(np.zeros(3)),
        old_style(np.zeros((2, 2), np.uint8))[:-8],
        old_style(np.zeros(4, np.uint8)).replace(b"_reconstruct", b"frombuffer\x00\x00"),
        old_style(np.zeros(4, np.uint8)).replace(b"K\x04\x85", b"K\x05\x85"),
        pickle.dumps((np.zeros(4, np.uint8), Evil()), protocol=4),
    ],
)
def test_anything_else_is_refused_and_never_run(data: bytes) -> None:
    with pytest.raises(AssetMissing, match="not a plain array"):
        read_array(data, "x")


def idx(path, array: np.ndarray, magic: int):
    head = b"".join(int(value).to_bytes(4, "big") for value in (magic, *array.shape))
    path.write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes()))
    return path


def test_idx_files_are_read_and_checked(tmp_path) -> None:
    pictures, labels = np.random.default_rng(0).integers(0, 256, (6, 28, 28)), np.arange(6)
    images = idx(tmp_path / "i.gz", pictures, 2051)
    found, answers = grey_pictures.read_idx(images, idx(tmp_path / "l.gz", labels, 2049))
    assert found.shape == (6, 1, 28, 28) and np.array_equal(found[:, 0].numpy(), pictures)
    assert answers.tolist() == list(range(6)) and answers.dtype == torch.int64
    wrong = [idx(tmp_path / "a.gz", labels, 2051), idx(tmp_path / "b.gz", labels[:5], 2049), tmp_path / "c.gz"]
    wrong[2].write_bytes(b"not gzip")
    for other in wrong:
        with pytest.raises(AssetMissing, match="not the pictures"):
            grey_pictures.read_idx(images, other)
    with pytest.raises(AssetMissing, match="not the pictures"):
        grey_pictures.read_idx(idx(tmp_path / "d.gz", pictures[:, :20], 2051), idx(tmp_path / "e.gz", labels, 2049))


def test_a_fifth_of_every_class_of_animals_is_held_out(tmp_path) -> None:
    images, labels = np.zeros((10_000, 28, 28), np.uint8), np.repeat(np.arange(10), 1000)
    images[:, 0, 0] = np.arange(10_000) % 251
    for name, array in (("i", images), ("l", labels)):
        (tmp_path / name).write_bytes(gzip.compress(old_style(array), 1))
    train, test = grey_pictures.split_animals(*grey_pictures.read_animals(tmp_path / "i", tmp_path / "l"))
    assert torch.bincount(train[1]).tolist() == [800] * 10 and torch.bincount(test[1]).tolist() == [200] * 10
    assert int(test[0][0, 0, 0, 0]) == 800 % 251
    (tmp_path / "l").write_bytes(gzip.compress(old_style(labels + 1)))
    with pytest.raises(AssetMissing, match="not the pictures"):
        grey_pictures.read_animals(tmp_path / "i", tmp_path / "l")


def test_pictures_are_brought_to_size_and_splits_are_balanced() -> None:
    images, labels = torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1).expand(-1, -1, 28, 28), torch.arange(40) % 4
    train, dev, test = dino_tasks._cut((images, labels), (images, labels), {"train": 20, "dev": 8, "test": 12})
    assert [len(split[1]) for split in (train, dev, test)] == [20, 8, 12]
    assert torch.bincount(train[1]).tolist() == [5] * 4 and train[1][:4].tolist() == [0, 1, 2, 3]
    assert not {int(v) for v in train[0].amax((1, 2, 3))} & {int(v) for v in dev[0].amax((1, 2, 3))}
    large = dino_tasks._large(train[0], 56)
    assert large.shape == (20, 3, 56, 56) and large.dtype == torch.uint8
    assert torch.equal(large[:, 0, 0, 0], train[0][:, 0, 0, 0])


def graph(path, *, positions: bool = True):
    import onnx
    from onnx import helper, numpy_helper

    generator = np.random.default_rng(0)
    arrays = {
        "backbone.embeddings.cls_token": generator.normal(size=(1, 1, 384)),
        "backbone.encoder.layer.0.attention.attention.query.bias": generator.normal(size=384),
        "backbone.encoder.layer.0.mlp.fc1.bias": generator.normal(size=8),
        "backbone.layernorm.weight": generator.normal(size=384),
        "onnx::MatMul_1": generator.normal(size=(384, 384)),
        "onnx::MatMul_2": generator.normal(size=(384, 8)),
        "decoder.bias": generator.normal(size=3),
    }
    if positions:
        arrays |= {"onnx::Concat_9": generator.normal(size=(1, 1, 384))}
        arrays |= {"onnx::Reshape_9": generator.normal(size=(1, 1369, 384))}
    nodes = [
        helper.make_node("MatMul", ["x", "onnx::MatMul_1"], ["q"]),
        helper.make_node("Add", ["backbone.encoder.layer.0.attention.attention.query.bias", "q"], ["q2"]),
        helper.make_node("MatMul", ["q2", "onnx::MatMul_2"], ["h"]),
        helper.make_node("Add", ["backbone.encoder.layer.0.mlp.fc1.bias", "h"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, 1, None) for name in ("x", "y")]
    stored = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], stored)), str(path))
    return {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}


def test_anonymous_weights_are_found_by_the_bias_that_follows(tmp_path) -> None:
    arrays = graph(tmp_path / "x.onnx")
    found = dinov2.read(tmp_path / "x.onnx")
    assert list(found) == sorted(found) and not any("decoder" in name for name in found)
    assert torch.equal(found["encoder.layer.0.attention.q_proj.weight"], arrays["onnx::MatMul_1"].T)
    assert torch.equal(found["encoder.layer.0.mlp.fc1.weight"], arrays["onnx::MatMul_2"].T)
    assert torch.equal(found["layernorm.weight"], arrays["backbone.layernorm.weight"])
    assert found["embeddings.position_embeddings"].shape == (1, 1370, 384)
    assert torch.equal(found["embeddings.position_embeddings"][:, 0], arrays["onnx::Concat_9"][:, 0])
    assert float(found["embeddings.mask_token"].abs().sum()) == 0


def test_a_graph_without_its_positions_is_refused(tmp_path) -> None:
    graph(tmp_path / "x.onnx", positions=False)
    with pytest.raises(AssetMissing, match="position embeddings"):
        dinov2.read(tmp_path / "x.onnx")
