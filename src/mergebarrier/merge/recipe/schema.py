"""What a recipe says, as plain data: which layers come from which models, with which parameters.

    models                        one slice over all layers
    slices                        the layers of the output, run after run
    modules: {NAME: ...}          the same for a named stack of layers
    mergebarrier: {as: adapter, rank: 16, lora_space: product | factor}      one adapter of adapters, not a model

Source: the configuration language of mergekit 0.1.5.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from mergebarrier.checkpoint.bytes import FLOAT_NAMES
from mergebarrier.errors import BadMergeParameter
from mergebarrier.merge.method import refuse
from mergebarrier.merge.recipe.values import ParameterValue, plain
from mergebarrier.parameters import built, check, choice, parameters_of, whole

Parameters = Mapping[str, ParameterValue]


@dataclass(frozen=True)
class ModelReference:
    """A model as a recipe names it: ``path[@revision][+lora[@revision]]``; ``text`` is all of it."""

    text: str
    path: str
    revision: str | None = None
    lora: str | None = None
    lora_revision: str | None = None


@dataclass(frozen=True)
class TokenRow:
    """Where the row of a token comes from.

    Attributes:
      kind:     "model" (that model's row of the token), "model_token" (of another token), "zero".
      model:    of the first two.
      token:    of "model_token", by its text or
      token_id: by its id.
    """

    kind: str
    model: ModelReference | None = None
    token: str | None = None
    token_id: int | None = None


@dataclass(frozen=True)
class TokenRule:
    """A row for the models that lack a token; with ``force`` for all of them. No row: the rule for all tokens."""

    row: TokenRow | None = None
    force: bool = False


@dataclass(frozen=True)
class Tokenizer:
    """The vocabulary of the output: "base", "union" or a model's, rules for single tokens, and rows rounded up."""

    source: ModelReference | str
    tokens: Mapping[str, TokenRule] = field(default_factory=dict)
    pad_to_multiple_of: int | None = None

    def references(self) -> list[ModelReference]:
        """Every model that is named."""
        rows = [rule.row.model for rule in self.tokens.values() if rule.row is not None]
        named = [self.source, *rows]
        return [model for model in named if isinstance(model, ModelReference)]

    def document(self, name_of: Callable[[ModelReference], str]) -> dict[str, object]:
        """Return it as YAML would hold it."""

        def row(item: TokenRow) -> object:
            if item.kind == "model" and item.model is not None:
                return name_of(item.model)
            given = {"model": item.model and name_of(item.model), "token": item.token, "token_id": item.token_id}
            return {"kind": item.kind, **{key: value for key, value in given.items() if value is not None}}

        tokens = {
            token: {**({"source": row(rule.row)} if rule.row else {}), **({"force": True} if rule.force else {})}
            for token, rule in self.tokens.items()
        }
        source = name_of(self.source) if isinstance(self.source, ModelReference) else self.source
        pad = {"pad_to_multiple_of": self.pad_to_multiple_of} if self.pad_to_multiple_of else {}
        return {"source": source, **({"tokens": tokens} if tokens else {}), **pad}


@dataclass(frozen=True)
class SliceSource:
    """A model in a slice; ``layers`` is a half-open range, None for all."""

    model: ModelReference
    layers: tuple[int, int] | None = None
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True)
class Slice:
    """Layers of the output and what they are merged from; ``base`` overrides that of the recipe."""

    sources: tuple[SliceSource, ...]
    parameters: Parameters = field(default_factory=dict)
    base: ModelReference | None = None


@dataclass(frozen=True)
class RecipeModule:
    """A part of the model; one slice over all of its layers when ``whole``, that is, written as ``models``."""

    name: str | None
    slices: tuple[Slice, ...]
    whole: bool
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True)
class Allowed:
    """Deviations that must be requested explicitly.

    Attributes:
      truncate: cut embeddings and heads of unequal rows to the fewest, whatever their tokens are.
      untie:    write the head of models that have none from their embedding.
      missing:  take a tensor that an input lacks from the base.
      keep:     keep a head that one input alone has beyond the donor.
      drop:     leave out whatever an input has beyond the donor.
      shard_bytes: fill shards to this size instead of taking the donor's.
      shard_parameters: the same, counted in numbers as mergekit counts.
    """

    truncate: bool = False
    untie: bool = False
    missing: bool = False
    keep: bool = False
    drop: bool = False
    shard_bytes: int | None = None
    shard_parameters: int | None = None


STRICT = Allowed()


@dataclass(frozen=True)
class Recipe:
    """A merge, as asked for.

    Attributes:
      method:        the merge method.
      modules:       what the output's layers are made of; one without a name when the recipe names none.
      parameters:    of the whole recipe.
      base:          base_model.
      dtype, out_dtype: safetensors names of the dtype to compute from and to store, None for the inputs' own.
      tokenizer:     None for the donor's files as they are.
      chat_template: None (the donor's), "auto", a built-in name, or a template.
      seed:          of methods that draw; None for that of the command line.
      extra:         our own key ``mergebarrier``.
    """

    method: str
    modules: tuple[RecipeModule, ...]
    parameters: Parameters = field(default_factory=dict)
    base: ModelReference | None = None
    dtype: str | None = None
    out_dtype: str | None = None
    tokenizer: Tokenizer | None = None
    chat_template: str | None = None
    seed: int | None = None
    extra: Mapping[str, object] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether no part of the output is made of slices."""
        return all(module.whole for module in self.modules)

    @property
    def slices(self) -> tuple[Slice, ...]:
        """The slices of all modules."""
        return tuple(part for module in self.modules for part in module.slices)

    def references(self) -> tuple[ModelReference, ...]:
        """Every model once, in the order of the file; the donor of configuration and tokenizer first."""
        named = self.tokenizer.references() if self.tokenizer is not None else []
        return tuple(dict.fromkeys([*self.merged(), *named]))

    def merged(self) -> tuple[ModelReference, ...]:
        """Every model whose tensors are merged, the base first."""
        found = [self.base] if self.base is not None else []
        for part in self.slices:
            found += [source.model for source in part.sources]
            found += [part.base] if part.base is not None else []
        return tuple(dict.fromkeys(found))

    def document(self, name_of: Callable[[ModelReference], str]) -> dict[str, object]:
        """Return the recipe as YAML would hold it, with every model named by ``name_of``."""
        dtypes = {stored: name for name, stored in FLOAT_NAMES.items()}
        bodies = {module.name: _module_document(module, name_of) for module in self.modules}
        parts = bodies[None] if None in bodies else {"modules": bodies}
        rest = {
            "base_model": name_of(self.base) if self.base is not None else None,
            "parameters": _plain(self.parameters) or None,
            "dtype": dtypes[self.dtype] if self.dtype else None,
            "out_dtype": dtypes[self.out_dtype] if self.out_dtype else None,
            "tokenizer": self.tokenizer.document(name_of) if self.tokenizer is not None else None,
            "chat_template": self.chat_template,
            "random_seed": self.seed,
            "mergebarrier": dict(self.extra) or None,
        }
        given = {name: value for name, value in rest.items() if value is not None}
        return {"merge_method": self.method, **parts, **given}


def _plain(parameters: Parameters) -> dict[str, object]:
    return {name: plain(setting) for name, setting in parameters.items()}


def _module_document(module: RecipeModule, name_of: Callable[[ModelReference], str]) -> dict[str, object]:
    body: object = [_source_document(source, name_of) for source in module.slices[0].sources]
    if not module.whole:
        body = [_slice_document(part, name_of) for part in module.slices]
    parameters = {"parameters": _plain(module.parameters)} if module.parameters else {}
    return {"models" if module.whole else "slices": body, **parameters}


def _source_document(source: SliceSource, name_of: Callable[[ModelReference], str]) -> dict[str, object]:
    document: dict[str, object] = {"model": name_of(source.model)}
    document |= {"layer_range": list(source.layers)} if source.layers else {}
    return document | ({"parameters": _plain(source.parameters)} if source.parameters else {})


def _slice_document(part: Slice, name_of: Callable[[ModelReference], str]) -> dict[str, object]:
    document: dict[str, object] = {"sources": [_source_document(source, name_of) for source in part.sources]}
    document |= {"base_model": name_of(part.base)} if part.base is not None else {}
    return document | ({"parameters": _plain(part.parameters)} if part.parameters else {})


#: Where adapters may be merged.
SPACES: Final = ("product", "factor")


@dataclass(frozen=True, kw_only=True)
class AdapterOutput:
    """One adapter as the output.

    Raises: BadMergeParameter.
    """

    rank: int | None = whole(None, help="Rank of the adapter at most; the sum of all ranks without it.", low=1)
    lora_space: str = choice("product", choices=SPACES, help="Merge the updates (exact), or A and B apart.")

    def __post_init__(self) -> None:
        """Check both."""
        check(self, functools.partial(refuse, "merge"))


#: Keys under ``mergebarrier`` that say what is written; no method has a parameter of these names.
OUTPUT_KEYS: Final = ("as", *parameters_of(AdapterOutput))


def output_of(asked: Mapping[str, object]) -> AdapterOutput | None:
    """Return what is to be written by the values of OUTPUT_KEYS that are given; None for a model.

    Raises: BadMergeParameter for a bad value, or for one that has no meaning for a model.
    """
    given = {key: asked[key] for key in OUTPUT_KEYS if asked.get(key) is not None}
    kind = given.pop("as", "model")
    if kind not in ("model", "adapter"):
        raise refuse("merge", "as", kind, "model | adapter")
    if kind == "adapter":
        return built(AdapterOutput, given)
    if given:
        name = next(iter(given))
        raise BadMergeParameter(
            "has no effect when the output is a whole model",
            where=name,
            remedy="write an adapter (--as adapter), or leave it out",
        )
    return None
