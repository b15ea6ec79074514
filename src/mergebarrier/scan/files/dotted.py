"""Code that a JSON or YAML file beside the weights names: keys that loaders follow, and classes by dotted names.

A loader that imports what a file names runs what stands there, whether it asks first or not.  So every table at every
depth is asked, in every file, and every duplicate of a key too, since readers differ in which they keep.

    named  <=>  a key of code (auto_map, custom_pipeline, ..), or a name under a key of classes (type, _target_, ..)
                whose package is not among those that loaders of models import from anyway

Source: sentence-transformers (modules.json, Dense), diffusers (model_index.json), hydra and NeMo (``_target_``), Keras,
jsonpickle, skops.  Differs: of a name nothing is imported, and what a known package does with it is not judged.
"""

import re
from collections.abc import Iterator
from typing import Final

from mergebarrier.checkpoint import code_keys
from mergebarrier.scan.base import Severity

#: Keys that name code in any file; what else a configuration of transformers may say is asked of those alone.
_CODE: Final = frozenset(
    "auto_map trust_remote_code custom_pipelines custom_pipeline custom_generate custom_objects custom_modules "
    "py/object py/reduce py/function py/type".split()
)
#: Keys whose texts are names of classes or functions for some loader.
_CLASSES: Final = frozenset(
    "type types _target_ _class_name class_name registered_name activation_function module __module__ __class__ class "
    "target factory loader entry_point callable function".split()
)
_PACKAGES: Final = (
    "sentence_transformers", "transformers", "diffusers", "torch.nn", "torch.optim", "nemo.collections", "keras.layers",
    "keras.src", "tensorflow.keras", "peft", "tokenizers", "timm", "sklearn", "numpy", "onnxruntime", "optimum", "flax",
    "open_clip", "spacy", "flair", "pylate", "model2vec", "setfit", "omegaconf", "lightning", "pytorch_lightning",
)  # fmt: skip
#: What a pipeline of diffusers may take its parts from.
_LIBRARIES: Final = frozenset(
    {"diffusers", "transformers", "onnxruntime", "optimum", "peft", "tokenizers", "timm", "stable_diffusion"}
)
#: Packages whose functions run what they are given, or reach the system.
_REACHING: Final = frozenset(
    "os posix nt subprocess builtins __builtin__ sys importlib runpy shutil socket pty ctypes code codeop pickle dill "
    "marshal operator functools webbrowser antigravity pip pdb timeit cProfile multiprocessing asyncio".split()
)
#: Classes of Keras that hold code themselves.
_LAMBDAS: Final = ("Lambda", "__lambda__", "keras.layers.Lambda")
_DOTTED: Final = re.compile(r"[A-Za-z_]\w*(?:[.:][A-Za-z_]\w*)+", re.ASCII)
_TARGET: Final = re.compile(r"^[ \t\-{,]*[\"']?_target_[\"']?[ \t]*:[ \t]*[\"']?([\w.:]+)", re.MULTILINE)
_PIPELINE: Final = "model_index.json"


def code_named_in(file: str, document: object) -> Iterator[str]:
    """Yield what of a JSON document names code, in words; of a pair that is given twice, both are in ``document``.

    Args:
      file:     its name, folders included.
      document: lists of (key, value) in the place of tables, as ``json.loads`` makes by its hook.
    """
    seen: dict[str, None] = {}
    todo: list[tuple[str, object]] = [("", document)]
    while todo:
        key, item = todo.pop()
        if isinstance(item, Pairs):
            todo += item
            seen |= dict.fromkeys(code_keys(dict(item)) if file.endswith("config.json") else ())
            seen |= {name: None for name, value in item if name in _CODE and value}
            if file.rpartition("/")[2] == _PIPELINE:
                seen |= dict.fromkeys(_parts_of_pipeline(item))
        elif isinstance(item, list):
            todo += [(key, one) for one in item]
        elif isinstance(item, str) and key in _CLASSES and (_is_foreign(item) or item in _LAMBDAS):
            seen[f"{key}: {item}"] = None
    yield from seen


def code_named_in_yaml(text: str) -> Iterator[str]:
    """Yield the targets in a YAML text that a loader would import from elsewhere than usual."""
    yield from dict.fromkeys(f"_target_: {name}" for name in _TARGET.findall(text) if _is_foreign(name))


def severity_of(named: str) -> Severity:
    """Return high for what runs anything it is given, or is code that stands in the file itself; else medium."""
    name = named.rpartition(": ")[2]
    return "high" if name in _LAMBDAS or re.split("[.:]", name)[0] in _REACHING else "medium"


class Pairs(list[tuple[str, object]]):
    """A table of JSON with all of its pairs, those of a key that is given twice too."""


def _is_foreign(name: str) -> bool:
    known = any(name.startswith((f"{package}.", f"{package}:")) for package in _PACKAGES)
    return _DOTTED.fullmatch(name) is not None and not known


def _parts_of_pipeline(table: Pairs) -> Iterator[str]:
    """Yield the parts of a pipeline that come from another library than the usual ones: from a file of the folder."""
    for name, value in table:
        library = value[0] if isinstance(value, list) and len(value) == 2 else None
        if isinstance(library, str) and library.partition(".")[0] not in _LIBRARIES:
            yield f"{name}: {library}"
