"""Real digits are cut as documented, and a file that is something else is refused."""

import gzip
import json

import pytest
import torch

from mergebarrier.errors import AssetMissing
from mergebarrier.evaluate import read_image_task
from mergebarrier.zoo.glyphs import digits as _digits
from mergebarrier.zoo.glyphs import glyph_tasks


def scans(path, n: int = 1797, value: int = 16):
    lines = [",".join(["0"] * 63 + [str(value), str(i % 10)]) for i in range(n)]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


def mnist(folder, counts):
    paths = []
    for digit, n in enumerate(counts):
        data = [digit / 10] * (784 * n)
        paths.append(folder / f"{digit}.json")
        paths[-1].write_text(json.dumps({"data": data}))
    return paths


def test_scans_are_cut_in_the_order_of_the_file(tmp_path) -> None:
    glyph_tasks.build_scans("digits8", scans(tmp_path / "digits.csv.gz"), tmp_path / "out")
    task = read_image_task(tmp_path / "out" / "digits8.task.safetensors")
    assert [len(split) for split in task.splits().values()] == [1300, 100, 397]
    assert task.classes[0] == "digit zero" and int(task.dev.labels[0]) == 1300 % 10
    assert int(task.test.images[0, 0, -1, -1]) == 255 and int(task.test.images[0, 0, 0, 0]) == 0


@pytest.mark.parametrize(("n", "value"), [(1796, 16), (1797, 17)])
def test_another_table_is_refused(n: int, value: int, tmp_path) -> None:
    with pytest.raises(AssetMissing, match="not the digits"):
        _digits.read_scans(scans(tmp_path / "digits.csv.gz", n, value))


def test_the_last_fifth_of_every_class_is_held_out_and_classes_take_turns(tmp_path) -> None:
    (images, labels), (held, held_labels) = _digits.read_mnist(mnist(tmp_path, [10, 5, 15]))
    assert labels.tolist()[:5] == [0, 1, 2, 0, 1] and torch.bincount(labels).tolist() == [8, 4, 12]
    assert torch.bincount(held_labels).tolist() == [2, 1, 3] and held.shape == (6, 1, 28, 28)
    assert images[1].unique().tolist() == [round(255 / 10)]


@pytest.mark.parametrize("data", [[0.5] * 783, [1.5] * 784, [-0.1] * 784])
def test_pictures_of_another_size_or_range_are_refused(data, tmp_path) -> None:
    (tmp_path / "0.json").write_text(json.dumps({"data": data}))
    with pytest.raises(AssetMissing, match="28 x 28"):
        _digits.read_mnist([tmp_path / "0.json"])
