"""A GGUF file as a stock module and its tokenizer, through the loader of transformers, cleaned of what it leaves.

The file is checked first (``checkpoint.read_gguf_header``) and shown to the loader alone in a folder, so that nothing
beside it is read.  Blocks are dequantised in float32.  The loader leaves a foreign name, a note of quantisation and
an epsilon that went through float32 in the configuration: those are taken out again.
"""

import contextlib
import io
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mergebarrier.checkpoint import read_gguf_header
from mergebarrier.errors import MissingExtra, UnsupportedFeature, clean

if TYPE_CHECKING:
    from torch import nn

_NAME = "model.gguf"
_LEFT = ("quantization_config", "_name_or_path", "_model_name_or_path")
_LOCAL_KEYS = ("is_local", "local_files_only", "name_or_path")
_REMEDY = "pip install 'mergebarrier[eval,gguf]'"


@dataclass(frozen=True, kw_only=True)
class GGUFModel:
    """What a file holds.

    Attributes:
      module:          in float32.
      config:          of config.json, without dtype.
      tokenizer_files: name -> bytes.
    """

    module: "nn.Module"
    config: dict[str, object]
    tokenizer_files: dict[str, bytes]


def load_gguf(path: Path) -> GGUFModel:
    """Load a GGUF file.

    Raises: NotACheckpoint, BadHeader for a bad file; UnsupportedFeature where the loader does not know the model, with
      its words; MissingExtra.
    """
    read_gguf_header(path)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra(
            "reading a GGUF file needs the extra 'eval'", where="transformers", remedy=_REMEDY
        ) from error
    import torch

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / _NAME).symlink_to(path.resolve())
        try:
            # The loader draws bars that cannot be switched off.
            with contextlib.redirect_stderr(io.StringIO()):
                module = transformers.AutoModelForCausalLM.from_pretrained(
                    folder, gguf_file=_NAME, dtype=torch.float32, local_files_only=True, trust_remote_code=False
                )
                tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
                    folder, gguf_file=_NAME, local_files_only=True, trust_remote_code=False
                )
        except Exception as error:  # whatever the loader meets in a file that is well formed
            if isinstance(error, MemoryError):
                raise
            what = str(error).strip().partition("\n")[0] or type(error).__name__
            raise UnsupportedFeature(
                f"the loader of transformers does not read it: {clean(what)}",
                where=path, remedy="use the original weights, or a newer transformers",
            ) from error  # fmt: skip
        files = _tokenizer_files(tokenizer)
    return GGUFModel(module=module.eval(), config=_config(module), tokenizer_files=files)


def _config(module: Any) -> dict[str, object]:
    """Return the configuration without what the file left in it."""
    document = json.loads(module.config.to_json_string(use_diff=False))
    for key in (*_LEFT, "dtype"):
        document.pop(key, None)
    # The shortest decimal with the same float32 value: 1e-05, not 9.999999747378752e-06.
    for key in [key for key in document if key.endswith(("_eps", "_epsilon"))]:
        document[key] = float(str(np.float32(document[key])))
    document |= {"architectures": [type(module).__name__]}
    return {key: value for key, value in document.items() if value is not None}


def _tokenizer_files(tokenizer: Any) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        files = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
    settings = {k: v for k, v in json.loads(files["tokenizer_config.json"]).items() if k not in _LOCAL_KEYS}
    # The name that every version of the library knows.
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    data = (json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
    return files | {"tokenizer_config.json": data}
