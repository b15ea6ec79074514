"""What the manifest of a merge holds: its inputs and their licences, what it learned from, what was checked."""

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from mergebarrier.checkpoint.files.content import Content, Count, Declared, Digest, Marked, Parameters

#: Where null would be ambiguous.
Words = Literal["infinite"]


class Licence(TypedDict):
    """What a merge concludes from the licences of its inputs; null where it concludes none."""

    verdict: Literal["compatible", "conflict", "unknown"]
    licence: str | None
    reason: str


class Concluded(Licence):
    """The same, with the wishes that were overridden."""

    acknowledged: list[str]


class RelativeFacts(TypedDict):
    """How an expert stands to the base: cosines by kind of circuit, as stored and in matched coordinates."""

    kind: str
    before: dict[str, float]
    after: dict[str, float]


class Weights(TypedDict):
    """A sample of the result's weights beside its inputs'."""

    tensors: Count
    values_per_model: Count
    norm_ratio: float | Words
    cosine: dict[str, float | Words]
    odd_tensors: dict[str, float | Words]
    task_vector: NotRequired[dict[str, float | Words]]


class PerplexityFacts(TypedDict):
    """Perplexity of a merge and of its inputs, four digits each."""

    text: str
    dtype: str
    merged: float | Words
    inputs: dict[str, float | Words]
    limit: float | Words


class Module(TypedDict):
    """What one module of a merged adapter lost by its rank, as a part of its update."""

    rank: Count
    residual: float
    cross_terms: NotRequired[float]


class ModelChecks(TypedDict):
    """What was looked at before a merged model was committed."""

    weights: Weights
    identical_to: list[str]
    suspect: bool
    perplexity: NotRequired[PerplexityFacts]
    relatives: dict[str, RelativeFacts]
    warnings: list[str]


class AdapterChecks(TypedDict):
    """The same for a merged adapter."""

    modules: dict[str, Module]
    residual: float
    cross_terms: NotRequired[float]
    suspect: bool
    relatives: dict[str, RelativeFacts]
    warnings: list[str]


class Fate(TypedDict):
    """What became of every tensor of an input: it is in one of these, and the counts add up to its tensors.

    merged: how many, from all models under one name; averaged: tensor -> how many of how many models gave their own.
    renamed: tensor -> names in the output; copied: taken as they are; left_out: why -> tensors.
    """

    merged: Count
    averaged: dict[str, tuple[Count, Count]]
    renamed: dict[str, list[str]]
    copied: list[str]
    left_out: dict[str, list[str]]


class Ancestor(TypedDict):
    """A model that an input, or a model before it, was made from, as far as manifests say."""

    role: NotRequired[str]
    name: NotRequired[str]
    licence: NotRequired[str]
    content_digest: NotRequired[str]
    made: NotRequired["Made"]


class Made(TypedDict):
    """How a model was made before; ``left_out`` counts ancestors beyond the bound on their number."""

    verb: NotRequired[str]
    method: NotRequired[str]
    inputs: list[Ancestor]
    left_out: NotRequired[Count]


class InputFacts(TypedDict):
    """An input of a merge as the arithmetic saw it."""

    role: Literal["base", "expert", "adapter", "donor"]
    name: str
    licence: str
    declared: Declared
    modules: NotRequired[dict[str, tuple[Count, float]]]
    whole: NotRequired[list[str]]
    peft_type: NotRequired[str]
    updated: NotRequired[list[str]]
    trained_on: NotRequired[str]
    fate: NotRequired[Fate]
    made: NotRequired[Made]
    content_digest: Digest
    tensors: dict[str, Digest]


class Data(TypedDict):
    """A file that a merge learned from."""

    expert: str
    file: str
    kind: Literal["task", "text"]
    sha256: Digest
    rows: Count
    tokens: Count


class Effective(TypedDict):
    """Tensors that were merged with the same effective parameters."""

    parameters: Parameters
    tensors: list[str]


class CureFacts(TypedDict):
    """The cure of a merge, and the digests of the tasks and of the questions that it used."""

    method: str
    parameters: Parameters
    seed: int
    tasks: list[Digest]
    refusals: NotRequired[list[Digest]]


class CalibrationFacts(TypedDict):
    """Which rows a merge learned from, and in which dtype."""

    samples: Count
    seed: int
    dtype: str


class MergeContent(Content, Marked):
    """Of ``merge``; ``device`` is a graphics processor that models ran on or matrices were decomposed on."""

    verb: Literal["merge"]
    method: str
    version: str
    parameters: NotRequired[Parameters]
    recipe: NotRequired[Parameters]
    effective: NotRequired[list[Effective]]
    determinism: NotRequired[str]
    device: NotRequired[str]
    data: NotRequired[list[Data]]
    calibration: NotRequired[CalibrationFacts]
    coefficients: NotRequired[dict[str, list[float]]]
    diagnostics: NotRequired[Parameters]
    cleanse: NotRequired[CureFacts]
    output_kind: NotRequired[Literal["adapter"]]
    lora_space: NotRequired[Literal["product", "factor"]]
    inputs: list[InputFacts]
    licence: Concluded
    checks: ModelChecks | AdapterChecks
