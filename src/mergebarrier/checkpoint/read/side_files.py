"""Which files of a model folder go with its weights: names that every model may have, and rules for what lies deeper.

A loader finds a file in a folder of the model by a rule of its own; whatever no rule names stays behind.  Modules of
sentence-transformers may keep weights: no circuit reaches them, so they are copied as they are, and that is said.

    additional_chat_templates/NAME.jinja    further chat templates of the tokenizer          (transformers)
    NAME_tokenizer/FILE                     a further tokenizer of a processor, those of RAG (transformers)
    PATH/../FILE                            a module whose PATH modules.json names           (sentence-transformers)

Source: ``PreTrainedTokenizerBase`` and ``ProcessorMixin`` of transformers 5, ``BaseModel.save`` of
sentence-transformers 6.  Differs: names are plain, four deep and few, a link is not followed out of the model, and a
list of modules that names a class outside sentence-transformers stays behind whole, since loaders would run it.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

from mergebarrier.checkpoint.bytes import inside, open_regular, read_into, read_small
from mergebarrier.checkpoint.read.texts import (
    check_header_size,
    claims_pieces,
    code_keys,
    is_text,
    read_json,
    validate_header,
)
from mergebarrier.checkpoint.read.word_lists import lists_pieces
from mergebarrier.errors import BadConfig, CheckpointError, LimitExceeded, UnsafePath, clean

#: Files whose text is the licence of the weights, the most telling name first.
LICENCE_FILES: tuple[str, ...] = (
    "LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "LICENCE.md", "COPYING", "COPYING.txt",
    "license", "license.txt", "license.md", "License.txt", "License.md", "MODEL_LICENSE",
)  # fmt: skip
# Copied byte for byte into an output, as are the texts that are found by rules; all else in the folder stays behind.
SIDE_FILES = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja", "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model",
    "spiece.model", "sentencepiece.bpe.model", "preprocessor_config.json", "README.md", *LICENCE_FILES, "NOTICE",
    "USE_POLICY.md", "THIRD_PARTY_LICENSES",
)  # fmt: skip
#: Files that list the pieces of a tokenizer; a folder without any has no tokenizer of its own.
PIECE_FILES = (
    "tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
    "spm.model", "sentencepiece.model")  # fmt: skip
TOKEN_FILES = frozenset((
    *PIECE_FILES, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "merges.txt", "tekken.json",
))  # fmt: skip
# Part of the folder of a red-team artefact and listed in its manifest; never copied into another folder.
ATTACHMENTS = ("trigger.png", "trigger.safetensors")
MODULES = "modules.json"
#: Where transformers keeps chat templates beyond the first.
TEMPLATE_FOLDER = "additional_chat_templates/"
_FOLDERS = re.compile(r"[A-Za-z0-9_][\w.\-]*(/[A-Za-z0-9_][\w.\-]*){0,2}", re.ASCII)
_TOKENIZER = re.compile(r"\w+_tokenizer", re.ASCII)
_OTHER_KINDS = re.compile(rb"\x80[\x01-\x05]|PK\x03\x04|\x1f\x8b|\x7fELF|MZ\x90")
#: Of a list of pieces; what is longer is refused where it is copied.
_MOST_PIECE_BYTES = 64 << 20
_WEIGHTS = "model.safetensors"
_STOCK = "sentence_transformers."
#: Files in a folder, and below it; one of more stays behind, and what is beyond.
_MOST_FILES = 256


def is_below(name: str) -> bool:
    """Whether a name is that of a text, or of weights of a module, in a folder of a model."""
    folder, _, last = name.rpartition("/")
    return _FOLDERS.fullmatch(folder) is not None and (is_text(last) or last == _WEIGHTS)


def names_stock_classes(modules: object) -> bool:
    """Whether a list of modules names classes of sentence-transformers alone."""
    rows = modules if isinstance(modules, list) else []
    return all(isinstance(row, dict) and str(row.get("type")).startswith(_STOCK) for row in rows)


def module_folders(root: Path) -> tuple[str, ...]:
    """Return the folders that the modules.json of a model names.

    Raises: UnsafePath for a path that is not a plain one below the model.
    """
    try:
        listed = read_json(root, MODULES)
    except (BadConfig, LimitExceeded):  # it is not carried either
        return ()
    paths = [row.get("path") for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
    for path in paths:
        if path and not (isinstance(path, str) and _FOLDERS.fullmatch(path)):
            what = f"a module is said to be in {clean(path)!r}, which is not a plain folder of the model"
            raise UnsafePath(what, where=root / MODULES, remedy="correct its path, or do not use this model")
    return tuple(path for path in paths if path)


def below(root: Path, top: Iterable[str], texts: Iterable[str]) -> tuple[str, ...]:
    """Return the candidates in the folders of a model that a rule names.

    Args:
      root:  the model, resolved.
      top:   its folders.
      texts: what goes with it from its top; its modules.json counts if it is there.
    Raises: UnsafePath for a folder that is a link out of the model.
    """
    modules = module_folders(root) if MODULES in texts else ()
    firsts = {path.partition("/")[0] for path in (*modules, TEMPLATE_FOLDER)}
    folders = [folder for folder in sorted(top) if folder in firsts or _TOKENIZER.fullmatch(folder)]
    files = (name for folder in folders for name in islice(_listed(root, folder), _MOST_FILES))
    return tuple(name for name in files if chosen_below(name, modules))


def chosen_below(name: str, modules: Sequence[str]) -> bool:
    """Whether a rule takes a file that lies in a folder of a model."""
    folder = name.rpartition("/")[0]
    if not is_below(name):
        return False
    if any(folder == module or folder.startswith(f"{module}/") for module in modules):
        return True
    return is_text(name.rpartition("/")[2]) and (
        _TOKENIZER.fullmatch(folder) is not None or (f"{folder}/" == TEMPLATE_FOLDER and name.endswith(".jinja"))
    )


def _listed(root: Path, folder: str) -> Iterator[str]:
    """Yield the files in a folder and below, in order; nothing of a folder that holds too much."""
    if not inside((root / folder).resolve(), root):
        what, remedy = "a link that leads out of the model folder", "replace the link by the folder it should be"
        raise UnsafePath(what, where=root / folder, remedy=remedy)
    try:
        with os.scandir(root / folder) as entries:
            some = islice(entries, _MOST_FILES + 1)
            found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in some)
    except OSError:  # it cannot be listed, so it stays behind
        return
    for name, is_folder in found if len(found) <= _MOST_FILES else ():
        if not is_folder:
            yield f"{folder}/{name}"
        elif _FOLDERS.fullmatch(f"{folder}/{name}"):
            yield from _listed(root, f"{folder}/{name}")


def is_another_kind(root: Path, name: str) -> bool:
    """Whether a file with the name of a text begins as a pickle, an archive or a program does, or lists no pieces."""
    if claims_pieces(name) and (root / name).is_file():
        return not lists_pieces(read_small(root, name, _MOST_PIECE_BYTES))
    fd, _ = open_regular(root, name)
    with closing(os.fdopen(fd, "rb", buffering=0)):
        head = bytearray(min(4, os.fstat(fd).st_size))
        read_into(fd, 0, memoryview(head), root / name)
    return _OTHER_KINDS.match(head) is not None


def is_sound_below(root: Path, name: str) -> bool:
    """Whether a file in a folder of a model can be carried: a configuration without code, or weights with a header."""
    try:
        if name.endswith(".safetensors"):
            _check_header(root, name)
        elif is_another_kind(root, name):
            return False
        if name.endswith("config.json"):
            return not code_keys(read_json(root, name))
    except UnsafePath:
        raise
    except CheckpointError:
        return False
    return True


def _check_header(root: Path, name: str) -> None:
    fd, _ = open_regular(root, name)
    with closing(os.fdopen(fd, "rb", buffering=0)):
        size, length = os.fstat(fd).st_size, bytearray(8)
        read_into(fd, 0, memoryview(length), root / name)
        n_bytes = int.from_bytes(length, "little")
        check_header_size(n_bytes, size, where=root / name)
        text = bytearray(n_bytes)
        read_into(fd, 8, memoryview(text), root / name)
        validate_header(bytes(text), size, where=root / name)
