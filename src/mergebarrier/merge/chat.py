"""The chat template of a model, wherever its folder keeps it, and models of a merge that have another than the output.

    chat_template.jinja | chat_template of tokenizer_config.json: a text, or a list of named ones, whose default counts

Source: the places that transformers reads, in its order.  Differs from mergekit, which says nothing of what is lost.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mergebarrier.checkpoint.bytes import parse_text
from mergebarrier.errors import BadRecipe, clean

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint

TEMPLATE_FILE, SETTINGS_FILE = "chat_template.jinja", "tokenizer_config.json"


def template_of(model: "Checkpoint") -> str | None:
    """Return the chat template of a model, None without one."""
    names = (name for name in (TEMPLATE_FILE, SETTINGS_FILE) if name in model.side_files)
    return template_in({name: model.read_side_file(name) for name in names})


def template_in(files: Mapping[str, bytes]) -> str | None:
    """Return the chat template that files of a tokenizer hold, None without one."""
    if TEMPLATE_FILE in files:
        return files[TEMPLATE_FILE].decode(errors="replace").strip()
    template = named_templates(files).get("default")
    return template.strip() if isinstance(template, str) else None


def named_templates(files: Mapping[str, bytes]) -> dict[str, object]:
    """Return the chat templates that the settings of a tokenizer hold, by their names."""
    said = settings_table(files.get(SETTINGS_FILE, b"{}")).get("chat_template")
    rows = said if isinstance(said, list) else [{"name": "default", "template": said}]
    return {str(row.get("name")): row.get("template") for row in reversed(rows) if isinstance(row, dict)}


def template_notes(source: "Checkpoint", others: "Sequence[Checkpoint]") -> list[str]:
    """Say which models have another chat template than the one whose tokenizer the output takes."""
    ours, notes = template_of(source), list[str]()
    for other in others:
        theirs = template_of(other)
        if theirs and theirs != ours:
            what = f"differs from that of {clean(source.name)}, which is kept" if ours else "is not in the output"
            notes.append(f"{clean(other.name)}: its chat template {what}; chat_template of a recipe takes another")
    return notes


def settings_table(data: bytes) -> dict[str, object]:
    """Return a table of JSON, an empty one for another value; BadRecipe for what is no JSON."""
    document = parse_text(data, _bad_settings, where=SETTINGS_FILE)
    return document if isinstance(document, dict) else {}


def _bad_settings(what: str) -> BadRecipe:
    return BadRecipe(f"a tokenizer file cannot be read: {what}", remedy="repair the file")
