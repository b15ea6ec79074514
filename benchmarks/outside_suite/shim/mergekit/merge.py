"""Run a recipe: our parser, planner, executor and writer, as ``mergebarrier merge CONFIG.yaml`` calls them."""

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from mergebarrier import verbs
from mergebarrier.merge.recipe import recipe as recipes
from mergekit.config import MergeConfiguration
from mergekit.faults import theirs
from mergekit.options import MergeOptions


def run_merge(config: MergeConfiguration, out_path: str, options: MergeOptions, **_: Any) -> None:
    """Merge into a folder."""
    text = yaml.safe_dump(config.plain()).encode()
    out = Path(out_path)
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()
    with theirs(), ExitStack() as stack:
        recipe = recipes.parse(text, "configuration")
        models = verbs.Models(stack)
        opened = {reference: models.model(Path(reference.path)) for reference in recipe.references()}
        planned = recipes.plan(
            recipe,
            opened,
            seed=options.random_seed or 0,
            allowed=recipes.Allowed(truncate=options.unsafe_truncate_embeddings),
        )
        for note in planned.notes:
            cut = "UNSAFE vocabulary truncation: " if "cut to the" in note else ""
            logging.getLogger("mergekit").warning("%s%s", cut, note)
        verbs.merge(verbs.by_recipe(planned, planned.small_files()), verbs.OutputOptions(out))
