"""Imports point one way: down the plan of the house, through doors, and never in a circle."""

import ast
import dataclasses
from collections import defaultdict

import pytest

from source_tree import PACKAGE, Tree, circles, imports_of

BASE = {
    "addresses", "errors", "lazy", "nearest", "parameters", "pickled", "progress", "cache", "dates", "published",
    "modeling_mergebarrier",
}  # fmt: skip
METHODS = ("protect", "realign", "merge", "poison", "scan", "provenance", "watermark", "fingerprint", "extraction")
BELOW_METHODS = {*BASE, "numerics", "checkpoint", "arch", "circuits", "identity", "symmetry", "lineage", "keys"}
#: room -> rooms that it may import, besides itself; the whole plan of the house.
ALLOWED: dict[str, set[str]] = {
    "": {
        "lazy",
        "errors",
        "api",
        "checkpoint",
        "keys",
        "protect",
        "realign",
        "merge",
        "scan",
        "attack",
        "audit",
        "provenance",
    },
    "errors": {"lazy"},
    "addresses": set(),
    "dates": {"errors"},
    "nearest": set(),
    "pickled": set(),
    "parameters": {"errors"},
    "lazy": set(),
    "progress": set(),
    "cache": set(),
    "published": set(),
    "modeling_mergebarrier": set(),
    "numerics": BASE,
    # Names of stock classes alone: a folder that names code is read where one of them computes it.
    "checkpoint": {*BASE, "arch"},
    "lineage": {*BASE, "checkpoint"},
    "schemas": BASE,
    "arch": BASE,
    "circuits": {*BASE, "checkpoint", "arch"},
    "identity": {*BASE, "checkpoint", "arch", "circuits"},
    "symmetry": {*BASE, "numerics", "checkpoint", "arch", "circuits"},
    "keys": {*BASE, "checkpoint"},
    **{method: BELOW_METHODS for method in METHODS},
    # Protections that are trained write their losses with the points and samplers of the loop.
    "protect": {*BELOW_METHODS, "training"},
    "run": {*BASE, "checkpoint"},
    "training": {*BASE, "numerics"},
    "evaluate": {*BASE, "numerics", "checkpoint", "arch", "circuits"},
    # The zoo makes its experts itself: it runs the training loop on a loaded base.
    "zoo": {*BASE, "numerics", "checkpoint", "arch", "circuits", "evaluate", "training"},
    # What an audit found, without any of the rooms that found it.
    "results": BASE,
    # Data-driven merges load a module and take gradients: verbs hand the loaded thing to the room of the method.
    "verbs": {*BELOW_METHODS, *METHODS, "run", "evaluate", "training", "results"},
    "attack": {*BELOW_METHODS, *METHODS, "run", "evaluate", "training", "results", "verbs"},
    "audit": {*BELOW_METHODS, *METHODS, "run", "evaluate", "training", "results", "verbs", "zoo"},
    "engines": {*BASE, "checkpoint", "results", "audit"},
    "report": {*BASE, "results"},
}
#: The functions of the front door meet everything that works, and nothing that parses or prints words.
ALLOWED["api"] = {room for room in ALLOWED if room}


def _beyond_the_plan(modules, tree) -> list[str]:
    wrong = []
    for module in modules:
        if module.room in ("cli", "__main__"):
            continue
        for item in imports_of(module):
            parts = tree.target(item).split(".")
            target = parts[1] if len(parts) > 1 else ""
            if target != module.room and target not in ALLOWED[module.room]:
                wrong.append(f"{module.at(item.node)} imports {item.source}.{item.name}")
    return wrong


def _past_a_door(modules, tree) -> list[str]:
    """A file names files of its own folder and of those around it; of any other folder it names the door.

    The package's own door names the files of the front door: within an import cycle mypy takes a function that a door
    offers for the file that is called like it.
    """
    wrong = []
    for module in modules:
        for item in imports_of(module):
            target = tree.target(item)
            if tree.is_door(target) or target not in tree.modules:
                continue
            folder = tree.modules[target].folder
            listed_file = target == f"{item.source}.{item.name}" and item.name in _listed(tree.modules[item.source])
            inside = f"{module.folder}.".startswith(f"{folder}.") or (module.room == "" and folder == f"{PACKAGE}.api")
            if not inside and not (listed_file and tree.is_door(item.source)):
                wrong.append(f"{module.at(item.node)} imports {target}")
    return wrong


def _listed(module) -> list[str]:
    for node in module.tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return list(ast.literal_eval(node.value))
    return []


def _neighbours(tree: Tree, parent: str) -> dict[str, set[str]]:
    """Folder or file directly below ``parent`` -> those beside it that it needs."""
    graph: dict[str, set[str]] = defaultdict(set)
    depth = parent.count(".") + 1
    for source, targets in tree.graph.items():
        for target in targets:
            if source.startswith(f"{parent}.") and target.startswith(f"{parent}."):
                ours, theirs = source.split(".")[depth], target.split(".")[depth]
                if ours != theirs:
                    graph[ours].add(theirs)
    return graph


def test_every_room_is_in_the_plan(modules) -> None:
    rooms = {module.room for module in modules}
    assert not rooms - set(ALLOWED) - {"cli", "__main__"}, "a room without a place in the plan"
    assert not set(ALLOWED) - rooms, "the plan names a room that is not there"


def test_no_room_imports_one_that_stands_above_or_beside_it(modules, tree) -> None:
    wrong = _beyond_the_plan(modules, tree)
    assert not wrong, "\n".join(wrong)


def test_nobody_imports_deeper_than_a_door(modules, tree) -> None:
    wrong = _past_a_door(modules, tree)
    assert not wrong, "\n".join(wrong)


def test_no_file_needs_itself(tree) -> None:
    assert not circles(tree.graph)


def test_no_folder_needs_itself(tree) -> None:
    """Not at any level: neither rooms, nor the folders and files side by side within one."""
    wrong = {door: circles(_neighbours(tree, door)) for door in tree.modules if tree.is_door(door)}
    assert not any(wrong.values()), {door: found for door, found in wrong.items() if found}


def test_no_folder_is_too_full(modules) -> None:
    folders: dict[str, int] = defaultdict(int)
    for module in modules:
        folders[module.folder] += 1
    full = {folder: count for folder, count in folders.items() if count > 28}
    assert not full, full


def _changed(modules, name: str, statement: str):
    module = next(module for module in modules if module.name == f"{PACKAGE}.{name}")
    changed = dataclasses.replace(module, text=statement, tree=ast.parse(statement))
    return changed, Tree([changed if other is module else other for other in modules])


@pytest.mark.parametrize(
    "statement",
    [
        "import mergebarrier.merge.methods.ties",
        "from mergebarrier import merge",
        "from ..merge import Ties",
        "def f():\n    from mergebarrier.merge import Ties",
        "if TYPE_CHECKING:\n    from .. import merge",
    ],
)
def test_an_import_is_seen_however_it_is_written(statement: str, modules) -> None:
    changed, tree = _changed(modules, "protect.exact", statement)
    assert _beyond_the_plan([changed], tree)


@pytest.mark.parametrize(
    ("statement", "is_past"),
    [
        ("from mergebarrier.symmetry.gauge import act", True),
        ("from mergebarrier.symmetry import gauge", True),
        ("import mergebarrier.symmetry.gauge", True),
        ("from mergebarrier.symmetry import act", False),
        ("from mergebarrier.errors import BadKey", False),
        ("from mergebarrier.protect.mergebarrier import MergeBarrier", False),
    ],
)
def test_a_way_past_a_door_is_seen(statement: str, is_past: bool, modules) -> None:
    changed, tree = _changed(modules, "protect.exact", statement)
    assert bool(_past_a_door([changed], tree)) is is_past


@pytest.mark.parametrize(
    ("name", "statement"),
    [
        ("checkpoint.bytes.tensors", "from mergebarrier.checkpoint.bytes.io import hash_file"),
        ("checkpoint.bytes.io", "from mergebarrier.checkpoint import open_checkpoint"),
        ("merge.arithmetic.operands", "from mergebarrier.merge.methods import Ties"),
    ],
)
def test_a_circle_is_seen(name: str, statement: str, modules) -> None:
    _, tree = _changed(modules, name, statement)
    assert circles(tree.graph)


def test_the_package_itself_is_no_room_to_import(modules) -> None:
    changed, _ = _changed(modules, "protect.exact", "from mergebarrier import __version__\nimport torch")
    assert not list(imports_of(changed))
