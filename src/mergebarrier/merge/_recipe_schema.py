"""What a recipe says, as plain data: which layers come from which models, with which parameters.

    models                        one slice over all layers
    slices                        the layers of the output, run after run
    modules: {NAME: ...}          the same for a named stack of layers

Source: the configuration language of mergekit 0.1.5.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mergebarrier.merge._recipe_values import Setting, plain

DTYPES: dict[str, str] = {"bfloat16": "BF16", "float16": "F16", "float32": "F32", "float64": "F64"}
Parameters = Mapping[str, Setting]


@dataclass(frozen=True)
class Reference:
    """A model as a recipe names it: ``path[@revision][+lora[@revision]]``; ``text`` is all of it."""

    text: str
    path: str
    revision: str | None = None
    lora: str | None = None
    lora_revision: str | None = None


@dataclass(frozen=True)
class Source:
    """A model in a slice; ``layers`` is a half-open range, None for all."""

    model: Reference
    layers: tuple[int, int] | None = None
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True)
class Slice:
    """Layers of the output and what they are merged from; ``base`` overrides that of the recipe."""

    sources: tuple[Source, ...]
    parameters: Parameters = field(default_factory=dict)
    base: Reference | None = None


@dataclass(frozen=True)
class Recipe:
    """A merge, as asked for.

    Attributes:
      method:        the merge method.
      slices:        what the output's layers are made of; one slice over everything when ``whole``.
      whole:         written as ``models``.
      module:        the name under ``modules``, None without; ``module_parameters`` stand there.
      parameters:    of the whole recipe.
      base:          base_model.
      dtype, out_dtype: safetensors names of the dtype to compute from and to store, None for the inputs' own.
      tokenizer:     None (the donor's files), "base", or a model.
      chat_template: None (the donor's), "auto", a built-in name, or a template.
      extra:         our own key ``mergebarrier``.
    """

    method: str
    slices: tuple[Slice, ...]
    whole: bool
    module: str | None = None
    module_parameters: Parameters = field(default_factory=dict)
    parameters: Parameters = field(default_factory=dict)
    base: Reference | None = None
    dtype: str | None = None
    out_dtype: str | None = None
    tokenizer: Reference | str | None = None
    chat_template: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def references(self) -> tuple[Reference, ...]:
        """Every model once, in the order of the file; the donor of configuration and tokenizer first."""
        found = [self.base] if self.base is not None else []
        for part in self.slices:
            found += [source.model for source in part.sources]
            found += [part.base] if part.base is not None else []
        found += [self.tokenizer] if isinstance(self.tokenizer, Reference) else []
        return tuple(dict.fromkeys(found))

    def document(self, name_of: Callable[[Reference], str]) -> dict[str, Any]:
        """Return the recipe as YAML would hold it, with every model named by ``name_of``."""
        dtypes = {stored: name for name, stored in DTYPES.items()}
        body: Any = [_source_document(source, name_of) for source in self.slices[0].sources]
        if not self.whole:
            body = [_slice_document(part, name_of) for part in self.slices]
        key = "models" if self.whole else "slices"
        parts: dict[str, Any] = {key: body}
        if self.module is not None:
            parts |= {"parameters": _plain(self.module_parameters)} if self.module_parameters else {}
            parts = {"modules": {self.module: parts}}
        tokenizer = name_of(self.tokenizer) if isinstance(self.tokenizer, Reference) else self.tokenizer
        rest = {
            "base_model": name_of(self.base) if self.base is not None else None,
            "parameters": _plain(self.parameters) or None,
            "dtype": dtypes[self.dtype] if self.dtype else None,
            "out_dtype": dtypes[self.out_dtype] if self.out_dtype else None,
            "tokenizer_source": tokenizer,
            "chat_template": self.chat_template,
            "mergebarrier": dict(self.extra) or None,
        }
        given = {name: value for name, value in rest.items() if value is not None}
        return {"merge_method": self.method, **parts, **given}


def _plain(parameters: Parameters) -> dict[str, Any]:
    return {name: plain(setting) for name, setting in parameters.items()}


def _source_document(source: Source, name_of: Callable[[Reference], str]) -> dict[str, Any]:
    document: dict[str, Any] = {"model": name_of(source.model)}
    document |= {"layer_range": list(source.layers)} if source.layers else {}
    return document | ({"parameters": _plain(source.parameters)} if source.parameters else {})


def _slice_document(part: Slice, name_of: Callable[[Reference], str]) -> dict[str, Any]:
    document: dict[str, Any] = {"sources": [_source_document(source, name_of) for source in part.sources]}
    document |= {"base_model": name_of(part.base)} if part.base is not None else {}
    return document | ({"parameters": _plain(part.parameters)} if part.parameters else {})
