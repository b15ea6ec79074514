"""Letters are drawn the same every time, every face has every letter, and splits are independent drawings."""

from pathlib import Path

import pytest
import torch

from mergebarrier import zoo
from mergebarrier.zoo.glyphs import glyphs
from mergebarrier.zoo.glyphs.glyphs import ALPHABETS, FACES, NAMES, class_names, draw


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def test_there_are_138_names_and_no_name_twice() -> None:
    assert len(NAMES) == len(set(NAMES)) == 138
    assert [len(letters) for letters in ALPHABETS.values()] == [10, 26, 24, 26, 26, 26]
    assert class_names("latin")[0] == "latin capital letter a" and set(class_names("armenian")) < set(NAMES)


def test_a_drawing_belongs_to_its_seed_and_label(faces) -> None:
    def drawn(**more) -> torch.Tensor:
        return draw("greek", 30, **({"hardness": 1.3, "seed": 0, "label": "train", "faces": faces} | more))[0]

    first = drawn()
    assert first.dtype == torch.uint8 and first.shape == (30, 1, 28, 28) and torch.equal(first, drawn())
    assert torch.equal(first[:12], draw("greek", 30, hardness=1.3, seed=0, label="train", faces=faces)[0][:12])
    for other in ({"seed": 1}, {"label": "test"}, {"hardness": 0.5}):
        assert not torch.equal(first, drawn(**other))


def test_classes_take_turns_and_pictures_show_something(faces) -> None:
    images, labels = draw("symbols", 60, hardness=0.0, seed=0, label="x", faces=faces)
    assert labels.tolist() == [i % 26 for i in range(60)]
    ink = (images > 60).float().mean(dim=(1, 2, 3))
    assert 0.005 < float(ink.min()) and float(ink.max()) < 0.6
    assert float(images.float().mean(0)[0, 6:22, 6:22].sum() / images.float().mean(0).sum()) > 0.8, "in the middle"


@pytest.mark.parametrize("face", FACES)
def test_every_face_has_every_letter(face: str, faces) -> None:
    from PIL import ImageFont

    font = ImageFont.truetype(str(faces / f"{face}.ttf"), 24, layout_engine=ImageFont.Layout.BASIC)
    absent = bytes(font.getmask("\uffff"))
    for letters in ALPHABETS.values():
        for letter in letters:
            assert bytes(font.getmask(letter)) != absent, (face, letter)


def test_the_faces_of_the_installed_package_are_those_of_the_catalogue(bench, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("MERGEBARRIER_CACHE", str(tmp_path))
    folder = zoo.path("dejavu")
    assert sorted(path.stem for path in folder.glob("*.ttf")) == sorted(FACES)


def test_without_pillow_the_extra_is_named(faces, monkeypatch) -> None:
    import sys

    from mergebarrier.errors import MissingExtra

    glyphs._upright.cache_clear()
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtra, match="extra 'zoo'"):
        draw("latin", 1, hardness=1.0, seed=0, label="x", faces=faces)
