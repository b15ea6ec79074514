"""Writing a model of the zoo: tensors through the crash-proof writer, configuration and tokenizer as side files.

tensors -> Writer (verified, hashed, renamed) -> a Hugging Face folder with mergebarrier.json
"""

import importlib.metadata
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from torch import Tensor

from mergebarrier.checkpoint import OutTensor, Writer


def write_model(
    out: Path,
    layout: Sequence[OutTensor],
    tensors: Iterable[tuple[str, Tensor]],
    side_files: Mapping[str, bytes],
    content: Mapping[str, object],
    inputs: Sequence[Path] = (),
) -> None:
    """Write a model folder.

    Args:
      out:        folder to be made.
      layout:     every tensor, in file order.
      tensors:    (name, tensor of the stored dtype), each name of the layout once.
      side_files: name -> bytes, config.json among them.
      content:    what the manifest says about the origin.
      inputs:     folders that were read.
    """
    with closing(Writer.create(out, layout, plan=dict(content), inputs=inputs)) as writer:
        for name, tensor in tensors:
            writer.put(name, tensor)
            writer.finish(name, (name,))
        writer.commit(content, versions(), side_files)


def versions() -> dict[str, object]:
    """Return what made an asset, for the part of a manifest that no digest covers."""
    packages = ("torch", "transformers", "peft", "gguf", "pillow")
    installed = {name: importlib.metadata.version(name) for name in packages if _has(name)}
    return {"python": platform.python_version(), "packages": installed}


def json_bytes(document: object) -> bytes:
    """Return JSON as the Hugging Face tools write it: two spaces, sorted keys, a final newline."""
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _has(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
