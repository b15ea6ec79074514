"""The options of ``merge``: those of the methods, from their registries, and those of the verb, in three groups.

recipe      RECIPE.yaml and what works only with a recipe
flags       models, a method with its parameters, data, adapters: what a recipe says itself
both        licence, checks, the writer's options
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import click

from mergebarrier.cli._compute import device_option, dtype_option
from mergebarrier.cli._mergekit import MERGEKIT_FLAGS, PARAMETER_COUNT, WITH_A_VALUE, flag_named
from mergebarrier.cli._options import MODEL, SIZE, download_option
from mergebarrier.cli._parameters import Registry, chosen, options_of
from mergebarrier.errors import UsageError
from mergebarrier.merge import DATA_MERGES, MERGES, DataMerge, Merge
from mergebarrier.parameters import parameters_of

if TYPE_CHECKING:
    from mergebarrier.api import MergeOptions

__all__ = ["Asked", "acknowledge_option", "gathered", "hyper_parameters", "merge_options", "methods", "verb_options"]

_Verb: TypeAlias = Callable[..., object]
_Values: TypeAlias = Mapping[str, Any]
_MERGEKIT: Final = "mergekit_"
_WITH_A_RECIPE: Final = (
    "explain",
    "unsafe_truncate_embeddings",
    "max_shard_size",
    "out_shard_size",
    "random_seed",
)
_WITH_FLAGS: Final = ("base", "method", "data", "samples", "as", "rank", "lora_space")
_WITH_BOTH: Final = (
    "dtype",
    "acknowledge_licence",
    "check",
    "text_path",
    "download",
    "missing",
    "extra",
    "untie",
    "sbom",
    "sign",
    "signers",
    "device",
)
acknowledge_option = click.option(
    "--acknowledge-licence",
    is_flag=True,
    help="Merge although the licence or the owner of an input forbids it; this is recorded.",
)
_OPTIONS: Final = (
    click.option("--base", type=MODEL, help="The model that the experts were fine-tuned from."),
    click.option(
        "--data", type=MODEL, multiple=True, metavar="FILE",
        help="Once per MODEL, in order: a task (.jsonl, prompts only) or text.",
    ),
    click.option("--samples", type=click.IntRange(1), metavar="N", help="Rows of each --data file.  [default: 256]"),
    dtype_option(None),
    device_option,
    click.option("--as", "as", type=click.Choice(["model", "adapter"]), help="What to write.  [default: model]"),
    click.option("--rank", type=click.IntRange(1), metavar="K", help="--as adapter: largest rank of the output."),
    click.option(
        "--lora-space", type=click.Choice(["product", "factor"]),
        help="--as adapter: merge the products B A (exact) or the factors.",
    ),
    click.option("--explain", is_flag=True, help="Recipes: print the parameters of every tensor and write nothing."),
    click.option("--missing", type=click.Choice(["base"]), help="Take what a model lacks from the base."),
    click.option(
        "--extra", type=click.Choice(["keep", "drop"]),
        help="Keep heads that one model alone has, or drop whatever the base or first model lacks.",
    ),
    click.option("--untie", is_flag=True, help="Store the head of tied models as a copy of their embedding."),
    click.option(
        "--unsafe-truncate-embeddings", is_flag=True, help="Recipes: cut unequal vocabularies to the smallest."
    ),
    click.option(
        "--max-shard-size", type=SIZE, metavar="SIZE",
        help="Recipes: largest shard, such as 4G.  [default: as in the base or first model]",
    ),
    click.option("--out-shard-size", type=PARAMETER_COUNT, hidden=True),
    click.option("--random-seed", type=click.IntRange(0, 2**63 - 1), hidden=True),
    acknowledge_option,
    click.option(
        "--check", type=click.Choice(["weights", "run"]), default="weights", show_default=True,
        help="run: also compare perplexity with every input; exit 1 when the merge is far worse.",
    ),
    click.option(
        "--sbom", type=MODEL, metavar="FILE", help="Also write the merge's ancestors as a CycloneDX bill of materials."
    ),
    click.option("--sign", type=MODEL, metavar="KEY.pem", help="Also sign the output, into DIR.sig, by model-signing."),
    click.option(
        "--verify-signature", "signers", type=MODEL, multiple=True, metavar="KEY.pem",
        help="First check every input against its .sig; it must be of one of these keys.",
    ),
    click.option("--text", "text_path", type=MODEL, metavar="FILE", help="Text for --check run, which it implies."),
    download_option,
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """The options of the verb and of the methods that were given, by name; the others are None, False or ()."""

    values: _Values

    @property
    def given(self) -> list[str]:
        """The names of the options that were given, those with a default aside."""
        return [name for name, value in self.values.items() if value not in (None, False, ())]

    @property
    def parameters(self) -> dict[str, object]:
        """The hyper-parameters."""
        usual = {*_WITH_A_RECIPE, *_WITH_FLAGS, *_WITH_BOTH}
        return {name: value for name, value in self.values.items() if name not in usual}

    @property
    def runs(self) -> bool:
        """Whether a check runs models."""
        return self.values["check"] == "run" or self.values["text_path"] is not None

    def refuse_flags(self) -> None:
        """Raise UsageError for an option that says what the recipe says."""
        for name in self.given:
            mute = name in _WITH_A_RECIPE or (name in _WITH_BOTH and (name != "dtype" or self.runs))
            if not mute:
                raise UsageError("cannot be combined with a recipe", where=_flag(name), remedy="set it in the YAML")

    def refuse_recipes(self) -> None:
        """Raise UsageError for an option that needs a recipe."""
        for name in self.given:
            if name in _WITH_A_RECIPE:
                raise UsageError("works only with a recipe", where=_flag(name), remedy="give a recipe, CONFIG.yaml")

    def refuse_learning(self, method: str) -> None:
        """Raise UsageError for an option that a method which learns nothing has no use for."""
        for name in ("data", "samples", *(() if self.runs else ("dtype",))):
            if name in self.given:
                raise UsageError(f"not an option of {method}", where=_flag(name), remedy="leave it out")

    def options(self, seed: int) -> "MergeOptions":
        """Return what the front door calls them."""
        from mergebarrier.api import MergeOptions
        from mergebarrier.merge.recipe import Allowed, output_of

        values = self.values
        if values["max_shard_size"] and values["out_shard_size"]:
            what = "says the same as --max-shard-size, in parameters instead of bytes"
            raise UsageError(what, where="--out-shard-size", remedy="leave one out")
        allowed = Allowed(
            truncate=values["unsafe_truncate_embeddings"],
            untie=values["untie"],
            missing=values["missing"] == "base",
            keep=values["extra"] == "keep",
            drop=values["extra"] == "drop",
            shard_bytes=values["max_shard_size"],
            shard_parameters=values["out_shard_size"],
        )
        return MergeOptions(
            adapter=output_of(values),
            samples=values["samples"] or 256,
            dtype=values["dtype"],
            seed=seed if values["random_seed"] is None else values["random_seed"],
            check=values["check"] == "run",
            text=values["text_path"],
            acknowledge_licence=values["acknowledge_licence"],
            allowed=allowed,
            download=values["download"],
            signers=values["signers"],
            device=values["device"],
        )


def verb_options(function: _Verb) -> _Verb:
    """Add the options of the verb; ``gathered`` hands them over."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return _mergekit_flags(function)


def gathered(function: _Verb) -> _Verb:
    """Hand the options of ``verb_options`` and of the methods to the verb as ``asked: Asked``; goes next to it."""

    @functools.wraps(function)
    def verb(*, models: object, cleanse: object, writer: object, output: object, **given: object) -> object:
        return function(models=models, cleanse=cleanse, writer=writer, output=output, asked=Asked(given))

    return verb


def methods() -> dict[str, type[Merge] | type[DataMerge]]:
    """Return every merge method by name, those that learn from data at last."""
    return {**MERGES, **DATA_MERGES}


def merge_options(registry: Registry) -> list[click.Option]:
    """Return ``--method`` and the options of all methods."""
    names = click.Choice(list(registry))
    return [click.Option(["--method"], type=names, help="Required, unless a recipe names it."), *options_of(registry)]


def hyper_parameters(method: str, given: _Values, *, seed: int, based: bool) -> dict[str, object]:
    """Turn the options that were given into the parameters of ``merge.make``.

    Args:
      method: a key of ``methods``.
      given:  option values by parameter.
      seed:   for a method that draws.
      based:  whether a base was given: a method whose base is optional then uses it.
    Raises: UsageError for an option that the method does not have, or one that it needs and lacks.
    """
    kind = methods()[method]
    values = chosen(methods(), method, given)
    optional_base = kind.optional_base if issubclass(kind, Merge) else ""
    return {
        **({optional_base: based} if optional_base else {}),
        **values,
        **({"seed": seed} if "seed" in parameters_of(kind) else {}),
    }


def _flag(name: str) -> str:
    """Return the flag of an option of the running command."""
    command = click.get_current_context().command
    return next(option.opts[0] for option in command.params if option.name == name)


def _mergekit_flags(verb: Callable[..., object]) -> Callable[..., object]:
    """Add the flags of mergekit that none of our options has; the verb gets nothing of them."""
    for name, reply in MERGEKIT_FLAGS.items():
        if reply != "ours":
            more: dict[str, Any] = {"type": str} if name in WITH_A_VALUE else {"is_flag": True}
            words = (flag_named(name), f"{_MERGEKIT}{name}")
            verb = click.option(*words, hidden=True, expose_value=False, callback=_refuse, **more)(verb)
    return verb


def _refuse(context: click.Context, option: click.Parameter, value: str | bool | None) -> None:
    del context
    reply = MERGEKIT_FLAGS[str(option.name).removeprefix(_MERGEKIT)]
    if value and isinstance(reply, tuple):
        why, remedy = reply
        what = f"is an option of mergekit that has no meaning here: {why}"
        raise UsageError(what, where=option.opts[0], remedy=remedy)
