"""The small files of a merged model: configuration, tokenizer, chat template; all of them data, nothing is rendered.

    tokenizer absent: the donor's files | else those of the model it names, with the vocabulary of the output
    chat_template absent: the tokenizer's | "auto": the most common among the inputs, the donor's on a tie | a template

Source: mergekit 0.1.5. Differs: the donor's generation_config.json comes along, with the special tokens of the output.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mergebarrier.errors import BadRecipe, clean
from mergebarrier.merge.recipe.plan import RecipePlan
from mergebarrier.merge.recipe.templates import TEMPLATES
from mergebarrier.merge.recipe.vocabulary import Alignment, with_special_tokens
from mergebarrier.merge.vocabulary import TOKENS_FILE

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint

_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
)  # fmt: skip
#: Made from another vocabulary than a changed tokenizer.json.
_SLOW_FILES = (
    "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model",
    "sentencepiece.bpe.model",
)  # fmt: skip
_TEMPLATE_FILE, _SETTINGS_FILE, _GENERATION_FILE = (
    "chat_template.jinja", "tokenizer_config.json", "generation_config.json",
)  # fmt: skip


def small_files(plan: RecipePlan) -> dict[str, bytes]:
    """Return name -> bytes of all side files except card and manifest.

    Raises: BadRecipe for an unknown template.
    """
    donor, alignment = plan.donor, plan.alignment
    files = {name: donor.read_side_file(name) for name in donor.side_files}
    if alignment is not None:
        files = {name: data for name, data in files.items() if name not in _TOKENIZER_FILES}
        files |= _tokenizer_files(alignment)
        if _GENERATION_FILE in files:
            files[_GENERATION_FILE] = _with_special_tokens(files[_GENERATION_FILE], alignment)
    if plan.config is not None:
        files["config.json"] = _dump(plan.config)
    template = _template(plan)
    if template is not None:
        files[_TEMPLATE_FILE] = template.encode()
        settings = _table(files.get(_SETTINGS_FILE, b"{}"))
        if settings.pop("chat_template", None) is not None:
            files[_SETTINGS_FILE] = _dump(settings)
    return files


def _tokenizer_files(alignment: Alignment) -> dict[str, bytes]:
    """Return the files of the output's tokenizer; those that would disagree with a changed one are left out."""
    source = alignment.source
    names = [name for name in source.side_files if name in _TOKENIZER_FILES]
    if not alignment.changed:
        return {name: source.read_side_file(name) for name in names}
    files = {name: source.read_side_file(name) for name in names if name not in _SLOW_FILES}
    files[TOKENS_FILE] = _dump(alignment.vocabulary.document)
    settings = _table(files.get(_SETTINGS_FILE, b"{}"))
    if isinstance(settings.get("added_tokens_decoder"), dict):
        rows = alignment.vocabulary.added.values()
        settings["added_tokens_decoder"] = {
            str(row["id"]): {key: value for key, value in row.items() if key != "id"} for row in rows
        }
        files[_SETTINGS_FILE] = _dump(settings)
    return files


def _with_special_tokens(data: bytes, alignment: Alignment) -> bytes:
    """Return a generation_config.json with the special tokens of the tokenizer's model."""
    source = alignment.source
    if _GENERATION_FILE not in source.side_files:
        return data
    theirs = _table(source.read_side_file(_GENERATION_FILE))
    ours = _table(data)
    changed = with_special_tokens(ours, theirs, alignment.size, source.path / _GENERATION_FILE)
    return data if changed == ours else _dump(changed)


def _template(plan: RecipePlan) -> str | None:
    asked = plan.recipe.chat_template
    if asked is None:
        return None
    if asked == "auto":
        found = [template for template in map(_template_of, plan.models) if template]
        return max(found, key=found.count) if found else None  # the first, the donor's, wins a tie
    if asked in TEMPLATES:
        return TEMPLATES[asked]
    if "{" not in asked:
        raise BadRecipe(
            f"there is no built-in template named {clean(asked)!r}",
            where="chat_template",
            remedy=f"give {', '.join(TEMPLATES)}, auto, or the template itself",
        )
    return asked


def _template_of(model: "Checkpoint") -> str | None:
    if _TEMPLATE_FILE in model.side_files:
        return model.read_side_file(_TEMPLATE_FILE).decode(errors="replace").strip()
    if _SETTINGS_FILE not in model.side_files:
        return None
    template = _table(model.read_side_file(_SETTINGS_FILE)).get("chat_template")
    if isinstance(template, list):
        named = [row for row in template if isinstance(row, dict) and row.get("name") == "default"]
        template = named[0].get("template") if named else None
    return template.strip() if isinstance(template, str) else None


def _table(data: bytes) -> dict[str, object]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as fault:
        raise BadRecipe(f"a tokenizer file is not JSON: {clean(fault)}", remedy="repair the file") from None
    return document if isinstance(document, dict) else {}


def _dump(table: Mapping[str, object]) -> bytes:
    return json.dumps(table, indent=2, ensure_ascii=False).encode() + b"\n"
