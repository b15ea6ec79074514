"""A folder like another one, with other values: how experts that were trained here are written.

OUT = names, dtypes, shapes and side files of ``like`` + some values, each rounded once to its stored dtype + a manifest
"""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from torch import Tensor

from mergebarrier.checkpoint import Checkpoint, Writer, layout_like, sharded


def save_weights(
    values: Mapping[str, Tensor],
    like: Checkpoint,
    out: Path,
    content: Mapping[str, object],
    *,
    environment: Mapping[str, object] | None = None,
    side_files: Mapping[str, bytes] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    shard_bytes: int | None = None,
) -> Path:
    """Write a folder like another one with other values.

    Args:
      values:      by the names of the folder; a tensor that has none is copied.
      like:        the folder whose names, dtypes, shapes and side files (but its card) are taken.
      out:         folder to be made.
      content:     what the manifest says about the origin: JSON data, the same for the same values.
      environment: versions and the like, for the part of the manifest that no digest covers.
      side_files:  more files of the folder, a card among them.
      resume:      go on with an unfinished run of the same content.
      overwrite:   replace a folder that holds our manifest.
      shard_bytes: fill files of weights to this size; None for those of ``like``.
    Returns: out.
    Raises:  OutputExists, NonFinite, NoSpace.
    """
    layout = sharded(layout_like(like), shard_bytes)
    writer = Writer.create(out, layout, plan=dict(content), inputs=(like.path,), resume=resume, overwrite=overwrite)
    with closing(writer):
        if not writer.finished:
            with writer.attempt():
                # All of them: what an earlier run wrote may be of a training with other threads.
                for name in like.tensors:
                    stored = like.read(name)
                    writer.put(name, values[name].to(stored.dtype) if name in values else stored)
                    writer.finish(name, (name,))
        copied = {name: like.read_side_file(name) for name in like.side_files if name != "README.md"}
        writer.commit(content, environment or {}, {**copied, **(side_files or {})})
    return out
