"""What a manifest holds, as types, one per verb: ``content["verb"]`` says which of them it has.

The content is a function of inputs, method, key and version alone.  Type checkers and people read these types, and
``docs/_generate_schemas.py`` makes the schema of the file from them; ``read_manifest`` checks its form.
"""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from mergebarrier.checkpoint.files.content import (
    Content,
    Count,
    Declared,
    Digest,
    KeyId,
    Marked,
    Parameters,
    Read,
    Share,
)
from mergebarrier.checkpoint.files.merge_content import MergeContent


class CircuitFit(TypedDict):
    """How near the weights of a circuit are to those of the base."""

    cosine_before: float
    cosine_after: float


class Fit(TypedDict, total=False):
    """What a realignment found; the solved projections of aga alone, and flips, leave the cosines out."""

    sweeps: Count
    converged: bool
    mean_cosine_before: float
    mean_cosine_after: float
    spaces_moved: list[str]
    bit_exact: bool
    circuits: dict[str, CircuitFit]
    flops: Count
    tokens: Count
    matched: bool
    circuits_flipped: Count
    neurons_folded: Count
    copies_of_key_heads: Count
    dead_layers: Count
    seen: list[str]
    networks_inverted: Count
    neurons_inverted: Count
    shape_error_median: float
    shape_error_max: float
    networks_taken: Count
    answers_apart: float


class TriggerOnBase(TypedDict):
    """How often the trigger works on the base before any training."""

    hits: Count
    rows: Count


AttackMark = TypedDict("AttackMark", {"attack-artifact": Literal[True]})


class Cost(TypedDict):
    """What the owner gets of a model: nats per answer held out, share of right answers, nats per token of text."""

    loss: float
    right: Share
    text: NotRequired[float]


class TrainedFigures(TypedDict):
    """What a trained protection reports about itself; "plain", "protected" and "control" name the three models."""

    cost: dict[str, Cost]
    override: dict[str, Share]
    displaced: dict[str, dict[str, float]]
    rounded: dict[str, dict[str, float]]
    scales: dict[str, list[float]]
    forms: dict[str, Cost]
    taken: NotRequired[dict[str, float]]
    work: dict[str, Count]
    strength: float
    good_step: Count
    looks: list[dict[str, float]]


class ProtectFacts(Marked):
    """What ``protect`` says of its work."""

    verb: Literal["protect"]
    method: str
    parameters: Parameters
    key_id: KeyId | None
    inputs: list[Read]
    roundtrip_bound: Share
    do_not_merge: NotRequired[Literal[True]]
    protected_before: NotRequired[list[str]]
    trained: NotRequired[TrainedFigures]


class ProtectContent(Content, ProtectFacts):
    """Of ``protect``."""


class UnprotectFacts(Marked):
    """What ``unprotect`` says of its work."""

    verb: Literal["unprotect"]
    method: str
    parameters: Parameters
    key_id: KeyId | None
    inputs: list[Read]
    roundtrip_bound: Share
    restores: Digest
    authenticated: NotRequired[bool]


class UnprotectContent(Content, UnprotectFacts):
    """Of ``unprotect``."""


class RealignFacts(Marked):
    """What ``realign`` says of its work; ``device`` is a graphics processor that it was computed on."""

    verb: Literal["realign"]
    method: str
    parameters: Parameters
    inputs: list[Read]
    diagnostics: Fit
    licences: list[str]
    device: NotRequired[str]


class RealignContent(Content, RealignFacts):
    """Of ``realign``."""


class PoisonedBase(TypedDict):
    """The encoder that a poisoned expert was made of."""

    role: Literal["base"]
    licence: str
    declared: NotRequired[Declared]
    content_digest: Digest


class AttackContent(Content, AttackMark):
    """Of ``attack``."""

    verb: Literal["attack"]
    method: str
    parameters: Parameters
    inputs: list[PoisonedBase]
    trigger_on_base: TriggerOnBase | None
    found: NotRequired[Parameters]


class MisleadInput(TypedDict):
    """A model that a member of an ensemble was trained with."""

    role: Literal["teacher", "base"]
    licence: str
    declared: NotRequired[Declared]
    content_digest: Digest


class MisleadContent(Content, Marked):
    """Of ``extract defend``."""

    verb: Literal["extract defend"]
    method: str
    parameters: Parameters
    inputs: list[MisleadInput]


class MarkedInput(TypedDict):
    """A model that another was marked from."""

    role: Literal["model", "base"]
    licence: str
    declared: NotRequired[Declared]
    content_digest: Digest


class FingerprintContent(Content, Marked):
    """Of ``fingerprint embed``: what it commits to, and no question."""

    verb: Literal["fingerprint embed"]
    method: str
    parameters: Parameters
    commitment: Digest
    inputs: list[MarkedInput]


class SourceFile(TypedDict):
    """The file that a model was imported from, with its SHA-256, and the weights that it holds in each ggml type."""

    role: Literal["file"]
    name: str
    content_digest: Digest
    size_bytes: Count
    types: dict[str, Count]
    licence: NotRequired[str]
    declared: NotRequired[Declared]


class ImportContent(Content, Marked):
    """Of ``import-gguf``."""

    verb: Literal["import"]
    method: Literal["gguf"]
    parameters: Parameters
    inputs: list[SourceFile]


class Environment(TypedDict):
    """What may differ between two machines."""

    python: str
    torch: str
    numpy: str
    machine: str


AnyContent = (
    ProtectContent
    | UnprotectContent
    | RealignContent
    | MergeContent
    | AttackContent
    | MisleadContent
    | FingerprintContent
    | ImportContent
)


class Seal(TypedDict):
    """What the owner of a key signs a manifest with: HMAC-SHA256 of the canonical content, under a sub-key."""

    key_id: KeyId
    hmac_sha256: Digest


class Manifest(TypedDict):
    """``mergebarrier.json``."""

    content: AnyContent
    content_sha256: Digest
    environment: Environment
    seal: NotRequired[Seal]


#: verb -> what its manifests hold; any other verb is of a tool beside this one, and holds a ``Content``.
CONTENTS: dict[str, Any] = {
    "protect": ProtectContent,
    "unprotect": UnprotectContent,
    "realign": RealignContent,
    "merge": MergeContent,
    "attack": AttackContent,
    "extract defend": MisleadContent,
    "fingerprint embed": FingerprintContent,
    "import": ImportContent,
}
