"""The JSON documents that no dataclass of the package describes yet, as types; `_generate_schemas.py` reads them.

A name of a file, a method or a licence is a string: registries grow, and a schema must not refuse a new entry.
"""

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
KeyId = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
Count = Annotated[int, Field(ge=0)]
Parameters = dict[str, object]
#: In a manifest, where null would be ambiguous.
Words = Literal["infinite"]


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


class Asset(TypedDict):
    """One model, task or text of the zoo."""

    name: str
    kind: str
    state: str
    licence: str
    about: str
    package: str | None
    needs: list[str]
    path: str | None


class Zoo(Document):
    """What the zoo has."""

    kind: Literal["zoo"]
    cache: str
    assets: list[Asset]


class ZooPath(Document):
    """Where one thing of the zoo is."""

    kind: Literal["zoo-path"]
    name: str
    path: str


class Task(Document):
    """A task of images that was made out of a folder of pictures."""

    kind: Literal["task"]
    out: str
    classes: list[str]
    train: Count
    dev: Count
    test: Count


class Dims(TypedDict):
    """Sizes and kinds of a network."""

    hidden: Count
    mlp_width: Count
    vocab: Count
    n_layers: Count
    positions: Count
    n_heads: Count
    n_kv_heads: Count
    head_dim: Count
    rotary: bool
    gated: bool
    centred: bool


class Input(TypedDict):
    """A model that a merge was made from, without the digests of single tensors."""

    role: str | None
    name: str | None
    licence: str | None
    content_digest: Digest | None


class Licence(TypedDict):
    """What a merge concludes from the licences of its inputs; null where it concludes none."""

    verdict: Literal["compatible", "conflict", "unknown"]
    licence: str | None
    reason: str


class Concluded(Licence):
    """The same, with the wishes that were overridden."""

    acknowledged: list[str]


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


class Circuit(TypedDict):
    """How near the weights of a circuit are to those of the base."""

    cosine_before: float
    cosine_after: float


class Fit(TypedDict, total=False):
    """What a realignment found; the solved projections of aga alone leave the cosines out."""

    sweeps: Count
    converged: bool
    mean_cosine_before: float
    mean_cosine_after: float
    spaces_moved: list[str]
    bit_exact: bool
    circuits: dict[str, Circuit]
    flops: Count
    tokens: Count
    matched: bool


class Undone(TypedDict):
    """What the best attack takes back of a protection at once."""

    undone_pct: float
    seconds: float
    attack: str
    diagnostics: Fit


class Relative(TypedDict):
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


class Perplexity(TypedDict):
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
    perplexity: NotRequired[Perplexity]
    relatives: dict[str, Relative]
    warnings: list[str]


class AdapterChecks(TypedDict):
    """The same for a merged adapter."""

    modules: dict[str, Module]
    residual: float
    cross_terms: NotRequired[float]
    suspect: bool
    relatives: dict[str, Relative]
    warnings: list[str]


class Declared(TypedDict, total=False):
    """What the folder of an input says; what says nothing is left out."""

    written: str
    name: str
    link: str
    reason: str
    do_not_merge: str
    protected: bool
    attack: bool


class MergeInput(TypedDict):
    """An input of a merge as the arithmetic saw it."""

    role: Literal["base", "expert", "adapter", "donor"]
    name: str
    licence: str
    declared: Declared
    modules: NotRequired[dict[str, tuple[Count, float]]]
    whole: NotRequired[list[str]]
    trained_on: NotRequired[str]
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


class Cleansed(TypedDict):
    """The cure of a merge of image models, and the digests of the tasks that it used."""

    method: str
    parameters: Parameters
    seed: int
    tasks: list[Digest]


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
    cleanse: NotRequired[Cleansed]
    inputs: list[MergeInput]
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


class Explanation(Document):
    """What a recipe would do to every tensor."""

    kind: Literal["explanation"]
    recipe: Parameters
    tensors: list[Explained]


class TextTask(TypedDict):
    """Exact matches of one task, with the bounds of the 95 % Wilson interval."""

    task: str
    sha256: Digest
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
    cannot_see: str


class ScannedExpert(TypedDict):
    """How much more a patch forces in an expert than in the base, by class."""

    name: str
    excess: float
    probe: list[float]


class ScannedMerge(TypedDict):
    """The same for the merge, on one task."""

    task: str
    excess: float


class Scan(Document):
    """Findings about models, the gravest first, and which checks ran."""

    kind: Literal["scan"]
    fail_on: str
    findings: list[Finding]
    checks_run: list[str]
    checks_left_out: dict[str, str]
    digests: dict[str, Digest]
    experts: NotRequired[list[ScannedExpert]]
    merged: NotRequired[list[ScannedMerge]]


class TriggerOnBase(TypedDict):
    """How often the trigger works on the base before any training."""

    hits: Count
    rows: Count


_Attack = TypedDict("_Attack", {"attack-artifact": Literal[True]})


class Attack(Document, _Attack):
    """A poisoned expert that was made as a control."""

    kind: Literal["attack"]
    out: str
    content_digest: Digest
    method: str
    parameters: Parameters
    trigger_on_base: TriggerOnBase | None


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
    {"cells on test rows": Count, "cells on validation rows": Count, "points of barrier curves": Count},
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
    base: str
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


class DemoPlan(Plan):
    """Of ``demo``: what would be made, in words."""

    models: str
    protect: str
    merge: str
    report: str


class File(TypedDict):
    """A file of a folder."""

    size_bytes: Count
    sha256: Digest


class Written(TypedDict):
    """What a folder holds."""

    content_digest: Digest
    tensors: dict[str, Digest]
    files: dict[str, File]


class Tool(TypedDict):
    """What wrote a folder."""

    name: Literal["mergebarrier"]
    version: str


class Content(TypedDict):
    """What any machine must reproduce."""

    schema_version: Literal[1]
    tool: Tool
    plan_sha256: Digest
    output: Written


class Read(TypedDict):
    """A model that was read."""

    role: str
    content_digest: Digest
    tensors: dict[str, Digest]


class ProtectContent(Content):
    """Of ``protect``."""

    verb: Literal["protect"]
    method: str
    parameters: Parameters
    key_id: KeyId | None
    inputs: list[Read]
    roundtrip_bound: float


class UnprotectContent(Content):
    """Of ``unprotect``."""

    verb: Literal["unprotect"]
    method: str
    parameters: Parameters
    key_id: KeyId | None
    inputs: list[Read]
    roundtrip_bound: float
    restores: Digest


class RealignContent(Content):
    """Of ``realign``."""

    verb: Literal["realign"]
    method: str
    parameters: Parameters
    inputs: list[Read]
    diagnostics: Fit
    licences: list[str]


class Calibration(TypedDict):
    """Which rows a merge learned from, and in which dtype."""

    samples: Count
    seed: int
    dtype: str


_Mark = TypedDict("_Mark", {"attack-artifact": NotRequired[Literal[True]]})


class MergeContent(Content, _Mark):
    """Of ``merge``."""

    verb: Literal["merge"]
    method: str
    version: str
    parameters: NotRequired[Parameters]
    recipe: NotRequired[Parameters]
    effective: NotRequired[list[Effective]]
    determinism: NotRequired[str]
    data: NotRequired[list[Data]]
    calibration: NotRequired[Calibration]
    coefficients: NotRequired[dict[str, list[float]]]
    diagnostics: NotRequired[Parameters]
    cleanse: NotRequired[Cleansed]
    output_kind: NotRequired[Literal["adapter"]]
    lora_space: NotRequired[Literal["product", "factor"]]
    inputs: list[MergeInput]
    licence: Concluded
    checks: ModelChecks | AdapterChecks


class PoisonedBase(TypedDict):
    """The encoder that a poisoned expert was made of."""

    role: Literal["base"]
    licence: str
    content_digest: Digest


class AttackContent(Content, _Attack):
    """Of ``attack``."""

    verb: Literal["attack"]
    method: str
    parameters: Parameters
    inputs: list[PoisonedBase]
    trigger_on_base: TriggerOnBase | None


class Environment(TypedDict):
    """What may differ between two machines."""

    python: str
    torch: str
    numpy: str
    machine: str


class Manifest(TypedDict):
    """``mergebarrier.json``."""

    content: Annotated[
        ProtectContent | UnprotectContent | RealignContent | MergeContent | AttackContent, Field(discriminator="verb")
    ]
    content_sha256: Digest
    environment: Environment
