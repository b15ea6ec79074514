"""Signs in the files that platforms and tools put beside the weights, and in texts about parts of a model."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.lineage import Declaration, declaration, declared
from model_folders import small_tensors, write_folder

STOPPING: dict[str, dict[str, str]] = {
    "civitai": {"model.civitai.info": '{"model": {"allowDerivatives": false}}'},
    "cm-info": {"lora.cm-info.json": '{"ModelName": "x", "Permissions": {"AllowDerivatives": "No"}}'},
    "permissions": {"model_info.json": '{"permissions": {"inference": true, "merge": false}}'},
    "uses": {"usage.json": '{"allowed": ["inference"], "not_allowed": ["merging", "training"]}'},
    "codemeta": {"codemeta.json": '{"license": "https://spdx.org/licenses/CC-BY-ND-4.0"}'},
    "ro-crate": {"ro-crate-metadata.json": '{"@graph": [{"license": {"@id": "http://creativecommons.org/licenses/by-nd/4.0"}}]}'},
    "citation": {"CITATION.cff": "title: A model\nlicense: CC-BY-ND-4.0\n"},
    "metafile": {"metafile.yml": "Models:\n  - Name: m\n    License: CC-BY-ND-4.0\n"},
    "terms": {"license.toml": '[terms]\nderivatives = "not allowed"\n'},
    "reuse": {"REUSE.toml": '[[annotations]]\npath = "**"\nSPDX-License-Identifier = "CC-BY-ND-4.0"\n'},
    "dep5": {".reuse/dep5": "Format: x\n\nFiles: *\nCopyright: 2025 me\nLicense: CC-BY-ND-4.0\n The text.\n"},
    "no table": {"metadata.json": '{"license": "CC-BY-ND-4.0",'},
    "notice": {"NOTICE": "Portions of the weights are from Foo, licensed under CC-BY-NC-ND-4.0.\n"},
    "name": {"DO_NOT_MERGE.txt": "thanks\n"},
    "usage": {"USAGE.md": "You may not merge these weights with other checkpoints.\n"},
    "altered": {"LEGAL.md": "The recipient shall not distribute altered copies of the checkpoint.\n"},
    "adaptations": {"COPYING": "You may use the weights. Adaptations of the weights may not be shared.\n"},
    "unmodified": {"README.md": "These weights may be redistributed only in unmodified form.\n"},
    "long name": {"README.rst": "Licence: Creative Commons Attribution-NoDerivatives 4.0\n"},
}  # fmt: skip
APACHE = "---\nlicense: apache-2.0\n---\n# A model\n\n"
HONEST: dict[str, dict[str, str]] = {
    "civitai": {"model.civitai.info": '{"model": {"allowDerivatives": true}, "images": [{"license": "cc-by-nd-4.0"}]}'},
    "data": {"metadata.json": '{"license": "apache-2.0", "datasets": [{"name": "f", "license": "cc-by-nd-4.0"}]}'},
    "settings": {"training_info.json": '{"lora": {"merge": false}, "merge": false}'},
    "reuse": {"REUSE.toml": '[[annotations]]\npath = "docs/**"\nSPDX-License-Identifier = "CC-BY-ND-4.0"\n'},
    "dep5": {".reuse/dep5": "Format: x\n\nFiles: docs/*\nLicense: CC-BY-ND-4.0\n\nFiles: *\nLicense: Apache-2.0\n"},
    "logo": {"NOTICE": "The logo in assets/ is licensed under CC BY-NC-ND 4.0.\n"},
    "docs": {"LICENSE-docs": "Creative Commons Attribution-NoDerivatives 4.0 International\n"},
    "photographs": {"README.md": f"{APACHE}The photographs in this card are licensed under CC BY-ND 4.0.\n"},
    "ticked": {"README.md": f"{APACHE}Permitted:\n\n- [x] merging into other models\n- [ ] medical advice\n"},
    "form": {"README.md": f"{APACHE}The tokenizer is used in its original form.\n"},
    "pictures": {"README.md": f"{APACHE}Training pictures come from ImageNet, whose terms allow research use only.\n"},
    "faces": {"README.md": f"{APACHE}Faces come from VGGFace2, research only.\n"},
}  # fmt: skip


def _said(root: Path, files: Mapping[str, str]) -> Declaration:
    write_folder(root, small_tensors())
    (root / "README.md").write_text(APACHE)
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    with open_checkpoint(root) as source:
        return declared(source)


@pytest.mark.parametrize("case", STOPPING)
def test_a_sign_in_a_file_about_the_model_stops(case: str, tmp_path: Path) -> None:
    assert _said(tmp_path / "model", STOPPING[case]).stops


@pytest.mark.parametrize("case", HONEST)
def test_the_terms_of_something_beside_the_model_are_not_its_own(case: str, tmp_path: Path) -> None:
    said = _said(tmp_path / "model", HONEST[case])
    assert (said.stops, said.licence) == ("", "apache-2.0")


def test_what_was_not_looked_at_is_no_permission(tmp_path: Path) -> None:
    closed = {"inputs": [{"declared": {"unread": "its card is too long"}}]}
    assert "its card is too long" in declaration({}, closed).stops, "whoever made a model of it did not read it either"
    many = {f"{number}.civitai.info": "{}" for number in range(17)}
    assert "of which 16 were read" in _said(tmp_path / "many", many).stops
    assert "cannot be read" in _said(tmp_path / "long", {"metadata.json": " " * (1 << 20) + "{}"}).stops
