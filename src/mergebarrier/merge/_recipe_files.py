"""The small files of a merged model: configuration, tokenizer, chat template; all of them data, nothing is rendered.

    tokenizer absent: the donor's files | "base" or a model: that model's, if all inputs give every token the same id
    chat_template absent: the tokenizer's | "auto": the most common among the inputs, the donor's on a tie | a template

Source: mergekit 0.1.5. Differs: rows of the embedding are never moved or cut in this release, so vocabularies that
differ are refused; of the built-in templates only ``chatml`` is here.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mergebarrier.errors import BadRecipe, clean
from mergebarrier.merge._recipe_plan import RecipePlan
from mergebarrier.merge._recipe_schema import Reference

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint

TEMPLATES: dict[str, str] = {
    "chatml": "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + "
    "'<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
}
_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
)  # fmt: skip
_TEMPLATE_FILE, _SETTINGS_FILE, _TOKENS_FILE = "chat_template.jinja", "tokenizer_config.json", "tokenizer.json"


def side_files(plan: RecipePlan, tokenizer: "Checkpoint | None") -> dict[str, bytes]:
    """Return name -> bytes of everything beside the weights, but for card and manifest.

    Args:
      plan:      the recipe, planned.
      tokenizer: the model whose tokenizer is asked for; None for the donor's without a question.
    Raises: BadRecipe when vocabularies differ or a template is none.
    """
    donor = plan.donor
    files = {name: donor.read_side_file(name) for name in donor.side_files}
    if tokenizer is not None:
        _check_vocabularies(plan, tokenizer)
        files = {name: data for name, data in files.items() if name not in _TOKENIZER_FILES}
        names = [name for name in tokenizer.side_files if name in _TOKENIZER_FILES]
        files |= {name: tokenizer.read_side_file(name) for name in names}
    if plan.config is not None:
        files["config.json"] = _dump(plan.config)
    template = _template(plan)
    if template is not None:
        files[_TEMPLATE_FILE] = template.encode()
        settings = _table(files.get(_SETTINGS_FILE, b"{}"))
        if settings.pop("chat_template", None) is not None:
            files[_SETTINGS_FILE] = _dump(settings)
    return files


def tokenizer_model(plan: RecipePlan, opened: "Mapping[Reference, Checkpoint]") -> "Checkpoint | None":
    """Return the model whose tokenizer the recipe asks for, None when it does not ask."""
    asked = plan.recipe.base if plan.recipe.tokenizer == "base" else plan.recipe.tokenizer
    return opened[asked] if isinstance(asked, Reference) else None


def _check_vocabularies(plan: RecipePlan, tokenizer: "Checkpoint") -> None:
    wanted = _vocabulary(tokenizer)
    for model in plan.models:
        if model is not tokenizer and _vocabulary(model) != wanted:
            raise BadRecipe(
                f"its tokens have other ids than those of {clean(tokenizer.path.name)}, and rows are not moved yet",
                where=model.path / _TOKENS_FILE,
                remedy="merge models of one vocabulary",
            )


def _vocabulary(model: "Checkpoint") -> dict[str, Any]:
    if _TOKENS_FILE not in model.side_files:
        raise BadRecipe(
            "there is no tokenizer.json to compare vocabularies with",
            where=model.path,
            remedy="leave tokenizer out, which copies the donor's files",
        )
    document = _table(model.read_side_file(_TOKENS_FILE))
    inner, added = document.get("model"), document.get("added_tokens")
    found = inner.get("vocab") if isinstance(inner, dict) else None
    tokens = dict(found) if isinstance(found, dict) else {"": found}
    rows = [row for row in added if isinstance(row, dict)] if isinstance(added, list) else []
    return tokens | {str(row.get("content")): row.get("id") for row in rows}


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
            f"no template of the name {clean(asked)!r} is built in",
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


def _table(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as fault:
        raise BadRecipe(f"a tokenizer file is not JSON: {clean(fault)}", remedy="repair the file") from None
    return document if isinstance(document, dict) else {}


def _dump(table: Mapping[str, Any]) -> bytes:
    return json.dumps(table, indent=2, ensure_ascii=False).encode() + b"\n"
