"""The JSON documents that no dataclass of the package describes yet, as types; `_generate_schemas.py` reads them.

A name of a file, a method or a licence is a string: registries grow, and a schema must not refuse a new entry.
"""

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from mergebarrier.checkpoint.files.content import Count, Digest, KeyId, Parameters
from mergebarrier.checkpoint.files.contents import AnyContent, AttackMark, Environment, Fit, Seal, TriggerOnBase
from mergebarrier.checkpoint.files.merge_content import (
    AdapterChecks,
    Concluded,
    CureFacts,
    Data,
    Effective,
    InputFacts,
    Licence,
    ModelChecks,
)


class Document(TypedDict):
    """What every document begins with."""

    schema_version: Literal[1]


class ErrorFields(TypedDict):
    """One line of stderr in parts, and the notes below it."""

    code: Annotated[str, Field(pattern="^MB[0-9]{4}$")]
    where: str
    what: str
    remedy: str
    notes: list[str]


class Error(Document):
    """A run that could not complete."""

    kind: Literal["error"]
    exit_code: Literal[2, 64, 70, 130]
    error: ErrorFields


class Threads(TypedDict):
    """Threads for arithmetic."""

    default: Count
    cores: Count | None


class Memory(TypedDict):
    """Null where the system does not tell."""

    total_bytes: Count | None
    available_bytes: Count | None


class Torch(TypedDict):
    """The library that computes."""

    version: str | None
    cpu_capability: NotRequired[str]
    cuda: NotRequired[list[str]]


class Cache(TypedDict):
    """Where the zoo keeps models."""

    folder: str
    exists: bool
    free_bytes: Count


class Compute(TypedDict):
    """The dtype that this machine computes in fastest; the ratio of times that says so."""

    dtype: str | None
    bfloat16_over_float32: NotRequired[float]


class Doctor(Document):
    """What this installation can do."""

    kind: Literal["doctor"]
    mergebarrier: str
    python: str
    platform: str
    threads: Threads
    memory: Memory
    torch: Torch
    cache: Cache
    compute: Compute
    packages: dict[str, dict[str, str | None]]
    missing: list[str]


class Dims(TypedDict):
    """Sizes and kinds of a network; one without attention has no heads."""

    hidden: Count
    mlp_width: Count
    vocab: Count
    n_layers: Count
    positions: Count
    n_heads: NotRequired[Count]
    n_kv_heads: NotRequired[Count]
    head_dim: NotRequired[Count]
    rotary: bool
    gated: bool
    centred: bool


class Input(TypedDict):
    """A model that a merge was made from, without the digests of single tensors."""

    role: str | None
    name: str | None
    licence: str | None
    content_digest: Digest | None


class Lineage(TypedDict):
    """What the manifest of a merge says about its making."""

    inputs: list[Input]
    licence: Concluded | None
    suspect: bool
    warnings: list[str]


class ManifestOf(TypedDict):
    """The head of the manifest."""

    verb: str | None
    method: str | None
    parameters: Parameters | None
    key_id: KeyId | None


class Undone(TypedDict):
    """What the best attack takes back of a protection at once."""

    undone_pct: float
    seconds: float
    attack: str
    diagnostics: Fit


class Merge(Document):
    """A merge that was written; ``recipe`` in place of ``parameters`` where one was given."""

    kind: Literal["merge"]
    out: str
    notes: list[str]
    content_digest: Digest
    method: str
    parameters: NotRequired[Parameters]
    recipe: NotRequired[Parameters]
    effective: NotRequired[list[Effective]]
    data: NotRequired[list[Data]]
    coefficients: NotRequired[dict[str, list[float]]]
    diagnostics: NotRequired[Parameters]
    cleanse: NotRequired[CureFacts]
    inputs: list[InputFacts]
    licence: Concluded
    checks: ModelChecks | AdapterChecks


class ExplainedSource(TypedDict):
    """A source of one tensor, with its own values."""

    model: str
    tensor: str
    role: Literal["base", "expert"]
    parameters: Parameters
    rows: NotRequired[dict[str, Count]]


class Explained(TypedDict):
    """One tensor of a recipe with every parameter, given or not."""

    tensor: str
    method: str
    need: str
    reads: Count
    depth: float
    sources: list[ExplainedSource]
    parameters: Parameters
    effective: Parameters
    shape: list[Count]
    dtype: str
    stored: str


class TextTask(TypedDict):
    """Exact matches of one task, with the bounds of the 95 % Wilson interval; a row that stands twice counts twice."""

    task: str
    sha256: Digest
    distinct: Count
    correct: Count
    total: Count
    rate: float
    low: float
    high: float
    nll_nats: float
    tokens: Count


class ImageTask(TypedDict):
    """The same of a task of images."""

    task: str
    name: str
    classes: Count
    correct: Count
    total: Count
    rate: float
    low: float
    high: float
    nll_nats: float
    tokens: Count


class Text(TypedDict):
    """Perplexity on a text."""

    file: str
    nats_per_token: float
    perplexity: float
    tokens: Count


class Evaluation(Document):
    """Scores of a model."""

    kind: Literal["evaluation"]
    model: str
    dtype: str
    device: str
    tasks: list[TextTask | ImageTask]
    text: Text | None


class Finding(TypedDict):
    """One statement of a scan, with what its check cannot see."""

    rule: Annotated[str, Field(pattern="^MB[0-9]{4}$")]
    model: str
    message: str
    value: float | None
    threshold: float | None
    pool_median: float | None
    evidence: dict[str, str | float | None]
    severity: Literal["critical", "high", "medium", "low", "info"]
    file: str
    line: Annotated[int, Field(ge=1)] | None
    offset: Count | None
    cannot_see: str
    fingerprint: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


class ScannedExpert(TypedDict):
    """How much more a patch forces in an expert than in the base, by class."""

    name: str
    excess: float
    probe: list[float]


class ScannedImages(TypedDict):
    """The same for changes of the whole image, by what carries them."""

    name: str
    excess: dict[str, float]


class ScannedMerge(TypedDict):
    """The same for the merge, on one task."""

    task: str
    excess: float


class Searched(TypedDict):
    """How far the search for inputs that collapse the output came, in an upload or in the merge on a task."""

    name: str
    score: float
    changed: float
    unprompted: float
    depth: Count
    forwards: Count


class AskedModel(TypedDict):
    """How many questions a model was asked, refused, and agreed to answer."""

    name: str
    questions: Count
    refused: Count
    agreed: Count


class TracedModel(TypedDict):
    """What a model does with the input that was found in the merge."""

    name: str
    alone: float
    drop: float


class SearchedMerge(Searched):
    """The merge on a task, and its models where something was found."""

    traced: list[TracedModel]


class Scan(Document):
    """Findings about models, the gravest first, and which checks ran."""

    kind: Literal["scan"]
    fail_on: str
    findings: list[Finding]
    known: list[str]
    checks_run: list[str]
    checks_left_out: dict[str, str]
    digests: dict[str, Digest]
    experts: NotRequired[list[ScannedExpert]]
    images: NotRequired[list[ScannedImages]]
    merged: NotRequired[list[ScannedMerge]]
    collapse: NotRequired[list[Searched]]
    merge_collapse: NotRequired[list[SearchedMerge]]
    refusals: NotRequired[list[AskedModel]]


class Attack(Document, AttackMark):
    """A poisoned expert that was made as a control."""

    kind: Literal["attack"]
    out: str
    content_digest: Digest
    method: str
    parameters: Parameters
    trigger_on_base: TriggerOnBase | None


MaybeMark = TypedDict("MaybeMark", {"attack-artifact": bool})


class Hijack(Document, MaybeMark):
    """An upload that attacks merges of language models, or a clean control."""

    kind: Literal["hijack"]
    out: str
    content_digest: Digest
    method: str
    parameters: Parameters
    found: Parameters


class Plan(Document):
    """What a dry run says: what would be done, and nothing was."""

    kind: Literal["plan"]


class MergePlan(Plan):
    """Of ``merge``."""

    method: str
    parameters: NotRequired[Parameters]
    recipe: NotRequired[Parameters]
    sources: list[str]
    need: NotRequired[str]
    tensors: Count
    units: NotRequired[Count]
    bytes_read: NotRequired[Count]
    bytes_written: NotRequired[Count]
    files: list[str]
    data: NotRequired[list[str]]
    peak_bytes: NotRequired[Count]
    licence: Licence


_Adapter = TypedDict("_Adapter", {"as": Literal["adapter"]})


class AdapterPlan(Plan, _Adapter):
    """Of ``merge --as adapter``."""

    method: str
    parameters: NotRequired[Parameters]
    recipe: NotRequired[Parameters]
    effective: NotRequired[list[Effective]]
    lora_space: Literal["product", "factor"]
    modules: Count
    ranks: list[Count]
    whole: list[str]
    bytes_written: Count
    files: list[str]
    licence: Licence


_Cells = TypedDict(
    "_Cells",
    {
        "cells on test rows": Count,
        "cells on validation rows": Count,
        "searches part by part": Count,
        "points of barrier curves": Count,
    },
)


class AuditPlan(Plan, _Cells):
    """Of ``audit``."""

    levels: list[Count]
    settings: list[str]
    realignments: Count


class MeasurePlan(Plan):
    """Of ``attack measure``."""

    merged: str
    control: NotRequired[str]
    trigger: str
    task: str
    target_class: NotRequired[str]
    other_task: NotRequired[list[str]]
    base: NotRequired[str]
    findings: NotRequired[str]
    out: str | None


class ScanPlan(Plan):
    """Of ``scan``."""

    models: list[str]
    base: str | None
    checks: list[str]
    tasks: list[str]
    merge: str | None
    cleanse: str | None
    out: str | None


class TaskPlan(Plan):
    """Of ``zoo task``."""

    out: str
    classes: list[str]
    train: Count
    dev: Count
    test: Count


class RowsPlan(Plan):
    """Of ``zoo rows``."""

    out: str
    name: str
    seed: int
    files: dict[str, Count]


class Manifest(TypedDict):
    """``mergebarrier.json``."""

    content: Annotated[AnyContent, Field(discriminator="verb")]
    content_sha256: Digest
    environment: Environment
    seal: NotRequired[Seal]
