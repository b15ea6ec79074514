"""The parts that the contents of all manifests share: digests, what was read, what was written.

Digests are lower-case hexadecimal.  A name of a file, a method or a licence is a string, since registries grow.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, NotRequired

from typing_extensions import TypedDict


class _Schema:
    """What the JSON Schema of a value says beyond its type, and what a reader checks."""

    def __init__(self, **more: object) -> None:
        self._more = more

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        return {**handler(source), **{_CHECKED[name]: value for name, value in self._more.items()}}

    def __get_pydantic_json_schema__(self, core: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return {**handler(core), **self._more}


_CHECKED = {"pattern": "pattern", "minimum": "ge", "maximum": "le"}
_MOST = 2**63 - 1

Digest = Annotated[str, _Schema(pattern="^[0-9a-f]{64}$")]
KeyId = Annotated[str, _Schema(pattern="^[0-9a-f]{16}$")]
Count = Annotated[int, _Schema(minimum=0, maximum=_MOST)]
Share = Annotated[float, _Schema(minimum=0, maximum=1)]
Parameters = dict[str, Any]


class File(TypedDict):
    """A file of a folder; weights of a manifest of version 2 have the digest that is made of those of their tensors."""

    size_bytes: Count
    sha256: NotRequired[Digest]
    blake3: NotRequired[Digest]


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

    schema_version: Literal[1, 2]
    tool: Tool
    plan_sha256: Digest
    output: Written


class Declared(TypedDict, total=False):
    """What the folder of an input says; what says nothing is left out."""

    written: str
    name: str
    link: str
    reason: str
    do_not_merge: str
    no_derivatives: str
    unread: str
    protected: bool
    attack: bool


#: Of what an input that is marked as made by an attack went into.
Marked = TypedDict("Marked", {"attack-artifact": NotRequired[Literal[True]]})


class Read(TypedDict):
    """A model that was read."""

    role: str
    licence: NotRequired[str]
    declared: NotRequired[Declared]
    content_digest: Digest
    tensors: dict[str, Digest]
