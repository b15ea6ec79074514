"""How each kind of asset is made, by name: the only place that knows all builders.

A builder gets what it needs as paths and writes one folder; the heavy libraries below it are imported when it runs.

    builder: (ingredients, raw files, settings, content for the manifest) -> folder
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from mergebarrier.parameters import built
from mergebarrier.progress import Progress
from mergebarrier.zoo.base import Asset
from mergebarrier.zoo.glyphs import GLYPH_FILE
from mergebarrier.zoo.language import kjv
from mergebarrier.zoo.language import words as _tasks
from mergebarrier.zoo.symbols import symbol_tasks


@dataclass(frozen=True)
class Making:
    """What a builder gets.

    Attributes:
      asset:    what is made.
      needs:    name -> folder of every ingredient, in the order of the asset.
      raw:      the files of its packages, in the order of the asset.
      content:  origin, for a manifest.
      progress: to be called with (done, in all).
    """

    asset: Asset
    needs: Mapping[str, Path]
    raw: tuple[Path, ...]
    content: dict[str, object]
    progress: Progress


def build(making: Making, out: Path) -> None:
    """Make an asset at ``out``, which does not exist yet."""
    BUILDERS[making.asset.builder](making, out)


def own_ingredients(asset: Asset) -> dict[str, str]:
    """Return digests of what is committed with the package and an asset's bytes depend on."""
    if asset.builder == "words":
        return {"words": hashlib.sha256(_tasks.word_list_bytes(asset.name)).hexdigest()}
    if asset.builder in ("glyph-base", "glyph-names", "drawn", "scans", "mnist", "symbol-base"):
        file = symbol_tasks.SYMBOL_FILE if asset.builder == "symbol-base" else GLYPH_FILE
        committed = files("mergebarrier.zoo").joinpath("data", file).read_bytes()
        return {"base": hashlib.sha256(committed).hexdigest()}
    return {}


def _words(making: Making, out: Path) -> None:
    _tasks.build(making.asset.name, out)


def _corpus(making: Making, out: Path) -> None:
    kjv.build(making.raw[0], out)


def _language_model(making: Making, out: Path) -> None:
    from mergebarrier.zoo.language import smollm2

    smollm2.build(making.raw[0], out, making.content)


def _symbol_base(making: Making, out: Path) -> None:
    from mergebarrier.zoo.symbols import symbol_base

    symbol_base.build(out, making.content)


def _adapter_expert(making: Making, out: Path) -> None:
    from mergebarrier.zoo.language import experts

    base, text, task = making.needs.values()
    settings = making.asset.settings
    train, prose = task / "train.jsonl", text / "train.txt"
    experts.build(base, train, prose, settings, out, making.content, making.progress)


def _files(making: Making, out: Path) -> None:
    out.mkdir()
    for path in making.raw:
        shutil.copyfile(path, out / path.name)


def _glyph_base(making: Making, out: Path) -> None:
    from mergebarrier.zoo.glyphs import glyph_file

    glyph_file.build(out, making.content)


def _glyph_names(making: Making, out: Path) -> None:
    from mergebarrier.zoo.glyphs import glyph_file

    glyph_file.write_names(out)


def _drawn(making: Making, out: Path) -> None:
    from mergebarrier.zoo.glyphs import glyph_tasks

    drawing = built(glyph_tasks.Drawing, making.asset.settings)
    glyph_tasks.build_drawn(making.asset.name, making.needs["dejavu"], drawing, out)


def _scans(making: Making, out: Path) -> None:
    from mergebarrier.zoo.glyphs import glyph_tasks

    glyph_tasks.build_scans(making.asset.name, making.raw[0], out)


def _mnist(making: Making, out: Path) -> None:
    from mergebarrier.zoo.glyphs import glyph_tasks

    glyph_tasks.build_mnist(making.asset.name, making.raw, out)


def _image_expert(making: Making, out: Path) -> None:
    from mergebarrier.zoo.base import image_experts

    base, task = making.needs.values()
    file = task / f"{making.asset.needs[1]}.task.safetensors"
    image_experts.build(base, file, making.asset.settings, out, making.content, making.progress)


def _dinov2(making: Making, out: Path) -> None:
    from mergebarrier.zoo.dino import dinov2

    dinov2.build(making.raw[0], out, making.content)


def _fashion(making: Making, out: Path) -> None:
    from mergebarrier.zoo.dino import dino_tasks, grey_pictures

    train, test = grey_pictures.read_idx(*making.raw[:2]), grey_pictures.read_idx(*making.raw[2:])
    dino_tasks.write_pictures(train, test, out)


def _animals(making: Making, out: Path) -> None:
    from mergebarrier.zoo.dino import dino_tasks, grey_pictures

    train, test = grey_pictures.split_animals(*grey_pictures.read_animals(*making.raw))
    dino_tasks.write_pictures(train, test, out)


def _tasks_of_dino(making: Making, out: Path) -> None:
    from mergebarrier.zoo.dino import dino_tasks

    settings = built(dino_tasks.PictureSettings, making.asset.settings)
    dino_tasks.build(making.needs, settings, out, making.progress)


def _dino_expert(making: Making, out: Path) -> None:
    from mergebarrier.zoo.base import image_experts

    base, tasks = making.needs.values()
    asked = built(image_experts.LastBlocks, making.asset.settings)
    file = tasks / f"{asked.task}.task.safetensors"
    image_experts.build(base, file, asked.recipe, out, making.content, making.progress, blocks=asked.blocks)


#: name in the catalogue -> function.
BUILDERS: Mapping[str, Callable[[Making, Path], None]] = {
    "words": _words,
    "kjv": _corpus,
    "smollm2": _language_model,
    "symbol-base": _symbol_base,
    "adapter-expert": _adapter_expert,
    "files": _files,
    "glyph-base": _glyph_base,
    "glyph-names": _glyph_names,
    "drawn": _drawn,
    "scans": _scans,
    "mnist": _mnist,
    "image-expert": _image_expert,
    "dinov2": _dinov2,
    "fashion": _fashion,
    "animals": _animals,
    "dino-tasks": _tasks_of_dino,
    "dino-expert": _dino_expert,
}
