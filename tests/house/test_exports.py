"""A room's ``__init__`` says what the room offers: all of it, and nothing that is not there."""

import ast
import importlib

import pytest

ROOMS = [
    "arch",
    "audit",
    "checkpoint",
    "cli",
    "evaluate",
    "merge",
    "poison",
    "protect",
    "provenance",
    "realign",
    "report",
    "run",
    "scan",
    "symmetry",
    "training",
    "verbs",
    "zoo",
]


def _listed(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return list(ast.literal_eval(node.value))
    return None


@pytest.mark.parametrize("room", ROOMS)
def test_all_is_complete_and_true(room: str, modules) -> None:
    module = next(module for module in modules if module.name == f"mergebarrier.{room}")
    listed = _listed(module.tree)
    assert listed is not None, f"{room} has no __all__"
    assert len(set(listed)) == len(listed)
    loaded = importlib.import_module(module.name)
    absent = [name for name in listed if not hasattr(loaded, name)]
    assert not absent, f"{room}.__all__ names what is not there: {absent}"
    own = f"mergebarrier.{room}"
    offered = [
        alias.asname or alias.name
        for node in module.tree.body
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith(own))
        for alias in node.names
    ]
    hidden = [name for name in offered if not name.startswith("_") and name not in listed]
    assert room == "cli" or not hidden, f"{room} imports but does not offer {hidden}"


def test_every_room_is_looked_at(modules) -> None:
    # A room may hold a package of its own; the room is what is listed.
    assert sorted({module.room for module in modules if module.path.name == "__init__.py" and module.room}) == ROOMS
