"""A door says what its folder offers: all of it, and nothing that is not there."""

import ast
import importlib

from source_tree import ROOT, imports_of
from test_import_direction import _listed


def _doors(modules):
    return [module for module in modules if module.is_door and module.room != "cli"]


def test_every_door_lists_what_is_there_and_nothing_else(modules) -> None:
    doors = _doors(modules)
    assert len(doors) > 40
    for module in doors:
        listed = _listed(module)
        assert len(set(listed)) == len(listed), module.name
        loaded = importlib.import_module(module.name)
        absent = [name for name in listed if not hasattr(loaded, name)]
        assert not absent, f"{module.name}.__all__ names what is not there: {absent}"
        offered = {item.name for item in imports_of(module) if item.name != "lazy"}
        own = {"__version__"} if module.room == "" else set()
        assert offered | own == set(listed), f"{module.name}: {sorted((offered | own) ^ set(listed))}"


def test_nothing_outside_the_package_asks_a_door_for_what_it_lacks(modules) -> None:
    names = {module.name for module in modules}
    doors = {module.name: set(_listed(module)) for module in _doors(modules)}
    paths = [path for place in ("benchmarks", "docs", "examples") for path in sorted((ROOT / place).rglob("*.py"))]
    assert len(paths) > 40
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module in doors:
                found = {alias.name for alias in node.names if f"{node.module}.{alias.name}" not in names}
                assert found <= doors[node.module], f"{path}: {node.module} has no {found - doors[node.module]}"


def test_a_door_holds_no_code(modules) -> None:
    for module in _doors(modules):
        assert module.text.rstrip().endswith("lazy.open_door(__name__)"), module.name
        assert "def " not in module.text and "class " not in module.text, module.name


def test_a_file_with_the_name_of_what_it_defines_does_not_hide_it() -> None:
    importlib.import_module("mergebarrier.verbs.protect")
    verbs = importlib.import_module("mergebarrier.verbs")
    assert callable(verbs.protect) and "protect" in dir(verbs)


def test_the_front_door_gives_the_verb_where_a_room_has_the_same_name(modules) -> None:
    front = importlib.import_module("mergebarrier")
    alike = sorted({module.room for module in modules} & set(front.__all__))
    for name in alike:
        room = importlib.import_module(f"mergebarrier.{name}")
        assert callable(getattr(front, name)) and getattr(front, name) is not room
