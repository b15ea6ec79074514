"""The tasks of the DINOv2-like bench: clothes, digits, silhouettes and letters, read by one frozen head of class names.

Pictures are stored at the size that the encoder reads, in three equal channels, so that a patch is stamped after the
resizing and may use colour.  The head's one linear map is learned on the base from a few labelled pictures of every
class, letters of other alphabets among them; fine-tunes never change it.

    head row = normalised(P e(name));   P: 20 pictures per class, cross-entropy over all 158 names, base frozen

Source: ours, in place of CLIP's text tower.  It is a DINOv2-like encoder with a MiniLM head, not CLIP.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mergebarrier.checkpoint import open_checkpoint, read_tensor_file, write_tensor_file
from mergebarrier.evaluate import (
    TASK_SUFFIX,
    ImageSplit,
    ImageTask,
    load_encoder,
    pixels,
    read_image_task,
    write_image_task,
)
from mergebarrier.parameters import built
from mergebarrier.progress import Progress
from mergebarrier.training import FullRecipe
from mergebarrier.zoo.dino.class_names import learn_projection, name_embeddings
from mergebarrier.zoo.dino.grey_pictures import ANIMALS, CLOTHES
from mergebarrier.zoo.glyphs import ALPHABETS, NAMES_FILE, class_names, draw

PICTURES_FILE = "pictures.safetensors"
#: Letters that belong to no task: they teach the head's map, and their names serve shadow heads.
OTHERS = ("greek", "cyrillic", "armenian", "symbols")
Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class PictureSettings:
    """Side of the pictures, pictures per split, shots per class for the map, scale, seed, and the map's recipe."""

    side: int
    train: int
    dev: int
    test: int
    shots: int
    scale: float
    seed: int
    projection: Mapping[str, object]


def build(needs: Mapping[str, Path], settings: PictureSettings, out: Path, progress: Progress) -> None:
    """Write a file per task and one of all names.

    Args:
      needs:    folders of dinov2s, minilm, mnist10k, dejavu, fashion and animals.
      settings: sizes, scale and seed.
      out:      folder to be made.
      progress: called with (steps done, steps in all) of the map.
    """
    seed, faces, side = settings.seed, needs["dejavu"], settings.side
    sets = _sets(needs, settings)
    names = [name for classes, _ in sets.values() for name in classes]
    images = [_first(*splits[0], settings.shots) for _, splits in sets.values()]
    for alphabet in OTHERS:
        n = settings.shots * len(ALPHABETS[alphabet])
        images.append(draw(alphabet, n, hardness=1.3, seed=seed, label="projection", faces=faces))
        names += class_names(alphabet)
    firsts = torch.tensor([0, *(int(labels.max()) + 1 for _, labels in images)]).cumsum(0)
    labels = torch.cat([own + first for (_, own), first in zip(images, firsts[:-1], strict=True)])
    with open_checkpoint(needs["dinov2s"]) as checkpoint:
        encoder = load_encoder(checkpoint).requires_grad_(False)
    with torch.no_grad():
        features = torch.cat([encoder(pixels(part)) for some, _ in images for part in _large(some, side).split(64)])
    embeddings, recipe = name_embeddings(needs["minilm"], names), built(FullRecipe, settings.projection)
    projection = learn_projection(features, labels, embeddings, settings.scale, recipe, progress)
    vectors = F.normalize(embeddings @ projection.T, dim=1)
    out.mkdir()
    write_tensor_file(out / NAMES_FILE, {"vectors": vectors}, {"names": names, "scale": settings.scale})
    for name, (classes, splits) in sets.items():
        head = vectors[[names.index(one) for one in classes]]
        train, dev, test = (ImageSplit(_large(some, side), own) for some, own in splits)
        write_image_task(ImageTask(name, classes, train, dev, test, head, settings.scale), out / f"{name}{TASK_SUFFIX}")


def write_pictures(train: Pair, test: Pair, out: Path) -> None:
    """Write a set of grey pictures as one file, ``pictures.safetensors``."""
    out.mkdir()
    tensors = {"train.images": train[0], "train.labels": train[1], "test.images": test[0], "test.labels": test[1]}
    write_tensor_file(out / PICTURES_FILE, tensors, {})


def _sets(needs: Mapping[str, Path], settings: PictureSettings) -> dict[str, tuple[tuple[str, ...], list[Pair]]]:
    """Return task -> (class names, its three splits), grey and small."""
    sizes = {"train": settings.train, "dev": settings.dev, "test": settings.test}
    digits = read_image_task(needs["mnist10k"] / f"mnist10k{TASK_SUFFIX}")
    sets: dict[str, tuple[tuple[str, ...], list[Pair]]] = {}
    for name, classes in (("fashion", CLOTHES), ("animals", ANIMALS)):
        tensors, _ = read_tensor_file(needs[name] / PICTURES_FILE)
        train, test = ((tensors[f"{split}.images"], tensors[f"{split}.labels"]) for split in ("train", "test"))
        sets[name] = classes, _cut(train, test, sizes)
    sets["digits"] = (
        digits.classes,
        _cut((digits.train.images, digits.train.labels), (digits.test.images, digits.test.labels), sizes),
    )
    sets["letters"] = (
        class_names("latin"),
        [
            draw("latin", n, hardness=1.3, seed=settings.seed, label=split, faces=needs["dejavu"])
            for split, n in sizes.items()
        ],
    )
    return sets


def _cut(train: Pair, test: Pair, sizes: Mapping[str, int]) -> list[Pair]:
    """Take the first pictures of every class: train, then dev, from one set, test from the other."""
    n_classes = int(train[1].max()) + 1
    n_train, n_dev, n_test = (sizes[split] // n_classes for split in ("train", "dev", "test"))
    return [_first(*train, n_train), _first(*train, n_dev, n_train), _first(*test, n_test)]


def _first(images: Tensor, labels: Tensor, n: int, skip: int = 0) -> Pair:
    """Take ``n`` pictures of each class after the first ``skip``, classes in turn."""
    places = [torch.nonzero(labels == c)[skip : skip + n, 0] for c in range(int(labels.max()) + 1)]
    rows = torch.stack(places, dim=1).flatten()
    return images[rows], labels[rows]


def _large(images: Tensor, side: int) -> Tensor:
    """Bring grey pictures to the encoder's size, in three equal channels."""
    large = F.interpolate(images.float(), (side, side), mode="bilinear").round().clamp(0, 255).to(torch.uint8)
    return large.expand(-1, 3, -1, -1).contiguous()
