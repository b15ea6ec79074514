"""A folder of pictures as the splits of a task: one sub-folder per class, PNG or JPEG, read as untrusted files.

What a picture claims is checked before its pixels are decoded; a file that is not a picture, is cut short or is too
large stops everything by its name, because a picture that is skipped is a wrong score.

    x = resize(centre square of RGB, side);   split = rank of SHA-256(class / file): 70 % train, 10 % dev, 20 % test

Source: the ImageFolder layout of common practice.  Differs: splits belong to file names, so adding a picture moves none
of the others far, and nothing is skipped.
"""

import hashlib
import os
import stat
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from mergebarrier.errors import BadTask, MissingExtra
from mergebarrier.evaluate.images.image_tasks import MAX_CLASSES, MAX_SIDE, ImageSplit

MAX_PICTURE_BYTES = 32 * 2**20
MAX_PICTURE_PIXELS = 64 * 10**6
MAX_TOTAL_BYTES = 2**30
_ENDINGS = (".png", ".jpg", ".jpeg")
_SHARES = (0.7, 0.8)


def read_image_folder(path: str | os.PathLike[str], side: int) -> tuple[tuple[str, ...], tuple[ImageSplit, ...]]:
    """Read a folder.

    Args:
      path: folder whose sub-folders are the classes, at least two, each with at least three pictures.
      side: of the square pictures in the result.
    Returns: (class names sorted, (train, dev, test)); pictures are UInt8[Tensor, "n 3 side side"].
    Raises:  BadTask naming file and fault; MissingExtra without Pillow.
    """
    root = Path(path)
    if not 1 <= side <= MAX_SIDE:
        raise BadTask(f"side {side} is not 1 to {MAX_SIDE}", where=root, remedy="choose a side in that range")
    classes = _classes(root)
    parts: dict[str, list[tuple[Tensor, int]]] = {"train": [], "dev": [], "test": []}
    n_bytes = 0
    for label, name in enumerate(classes):
        files = sorted((root / name).iterdir(), key=lambda file: _rank(name, file.name))
        if len(files) < 3:
            raise BadTask(f"{len(files)} pictures, at least 3 are needed", where=root / name, remedy="add pictures")
        n_bytes += len(files) * 3 * side * side
        if n_bytes > MAX_TOTAL_BYTES:
            raise BadTask(f"more than {MAX_TOTAL_BYTES} bytes of pixels", where=root, remedy="choose a smaller side")
        first, second = (max(i, round(share * len(files))) for i, share in enumerate(_SHARES, 1))
        first, second = min(first, len(files) - 2), min(max(second, first + 1), len(files) - 1)
        for split, some in (("train", files[:first]), ("dev", files[first:second]), ("test", files[second:])):
            parts[split] += [(_picture(file, side), label) for file in some]
    return classes, tuple(
        ImageSplit(torch.stack([image for image, _ in part]), torch.tensor([label for _, label in part]))
        for part in parts.values()
    )


def _classes(root: Path) -> tuple[str, ...]:
    try:
        entries = sorted(root.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise BadTask(f"cannot be listed: {error.strerror}", where=root, remedy="give a folder of classes") from error
    odd = next((entry for entry in entries if entry.is_symlink() or not entry.is_dir()), None)
    if odd is not None:
        raise BadTask(
            "not a folder, and the pictures of each class need one",
            where=odd,
            remedy="keep only one sub-folder per class",
        )
    if not 2 <= len(entries) <= MAX_CLASSES:
        raise BadTask(f"{len(entries)} sub-folders; a task has 2 or more", where=root, remedy="one folder per class")
    return tuple(entry.name for entry in entries)


def _rank(name: str, file: str) -> bytes:
    return hashlib.sha256(f"{name}/{file}".encode("utf-8", "surrogateescape")).digest()


def _picture(path: Path, side: int) -> Tensor:
    def bad(what: str) -> BadTask:
        return BadTask(what, where=path, remedy="remove or replace this file")

    image_module = _pillow()
    if path.suffix.lower() not in _ENDINGS:
        raise bad("not a .png, .jpg or .jpeg file")
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise bad(f"cannot be opened: {error.strerror}") from error
    with os.fdopen(fd, "rb") as stream:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_PICTURE_BYTES:
            raise bad(f"not a regular file of at most {MAX_PICTURE_BYTES} bytes")
        try:
            with image_module.open(stream, formats=("PNG", "JPEG")) as image:
                width, height = image.size
                if width * height > MAX_PICTURE_PIXELS:
                    raise bad(f"{width} x {height} pixels, the cap is {MAX_PICTURE_PIXELS}")
                edge = min(width, height)
                left, top = (width - edge) // 2, (height - edge) // 2
                square = image.convert("RGB").crop((left, top, left + edge, top + edge))
                small = square.resize((side, side), image_module.Resampling.BICUBIC)
        except BadTask:
            raise
        except Exception as error:  # Pillow raises many kinds for damaged files, its own among them
            if isinstance(error, MemoryError):
                raise
            raise bad("not a whole PNG or JPEG picture") from error
    return torch.from_numpy(np.asarray(small, dtype=np.uint8).copy()).permute(2, 0, 1).contiguous()


def _pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra(
            "reading pictures needs the extra 'zoo'", where="pillow", remedy="pip install 'mergebarrier[zoo]'"
        ) from error
    library: ModuleType = Image
    return library
