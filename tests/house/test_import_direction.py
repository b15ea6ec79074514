"""Imports point one way; the rooms that hold methods do not know each other."""

import ast
import dataclasses

import pytest

#: room -> rooms that it may import, besides itself; the whole plan of the house.
METHODS = ("protect", "realign", "merge", "poison", "scan", "provenance", "extraction")
BELOW_METHODS = {"errors", "checkpoint", "arch", "symmetry"}
ALLOWED: dict[str, set[str]] = {
    "": set(),
    "errors": set(),
    "checkpoint": {"errors"},
    "arch": {"errors", "checkpoint"},
    "symmetry": {"errors", "checkpoint", "arch"},
    **{method: BELOW_METHODS for method in METHODS},
    "run": {"errors", "checkpoint"},
    "training": {"errors"},
    "evaluate": {"errors", "checkpoint", "arch"},
    # The zoo makes its experts itself: it runs the training loop on a loaded base.
    "zoo": {"errors", "checkpoint", "arch", "evaluate", "training"},
    # Data-driven merges load a module and take gradients: verbs hand the loaded thing to the room of the method.
    "verbs": {*BELOW_METHODS, *METHODS, "run", "evaluate", "training"},
    "audit": {*BELOW_METHODS, *METHODS, "run", "training", "evaluate", "zoo", "verbs"},
    "report": {"errors", "audit"},
}
#: ``report`` sees the audit's result dataclasses and nothing else of it.
REPORT_SEES = ("mergebarrier.audit.result",)


def _imports(module) -> list[tuple[ast.AST, str]]:
    """Every module of ours that ``module`` imports, wherever the statement stands, absolute."""
    found = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found += [(node, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                package = module.name.split(".")
                if module.path.name != "__init__.py":
                    package = package[:-1]
                source = ".".join([*package[: len(package) - node.level + 1], *([source] if source else [])])
            if source == "mergebarrier":
                found += [(node, f"mergebarrier.{alias.name}") for alias in node.names if alias.name != "__version__"]
            else:
                found.append((node, source))
    return [(node, name) for node, name in found if name.split(".")[0] == "mergebarrier" and "." in name]


def test_every_room_is_in_the_plan(modules) -> None:
    unknown = {module.room for module in modules} - set(ALLOWED) - {"cli", "__main__"}
    assert not unknown, f"rooms without a place in the plan: {sorted(unknown)}"


def test_no_room_imports_one_that_stands_above_or_beside_it(modules) -> None:
    wrong = []
    for module in modules:
        if module.room in ("cli", "__main__"):
            continue
        for node, name in _imports(module):
            target = name.split(".")[1]
            if target != module.room and target not in ALLOWED[module.room]:
                wrong.append(f"{module.at(node)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_report_reads_result_objects_only(modules) -> None:
    wrong = [
        f"{module.at(node)} imports {name}"
        for module in modules
        if module.room == "report"
        for node, name in _imports(module)
        if name.startswith("mergebarrier.audit") and not name.startswith(REPORT_SEES)
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_imports_the_command_line(modules) -> None:
    wrong = [
        f"{module.at(node)} imports {name}"
        for module in modules
        if module.room not in ("cli", "__main__")
        for node, name in _imports(module)
        if name.split(".")[1] == "cli"
    ]
    assert not wrong, "\n".join(wrong)


def test_no_room_reaches_into_the_private_files_of_another(modules) -> None:
    wrong = [
        f"{module.at(node)} imports {name}"
        for module in modules
        for node, name in _imports(module)
        if name.split(".")[1] != module.room and any(part.startswith("_") for part in name.split(".")[2:])
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("statement", "target"),
    [
        ("import mergebarrier.merge.ties", "mergebarrier.merge.ties"),
        ("from mergebarrier import merge", "mergebarrier.merge"),
        ("from ..merge import ties", "mergebarrier.merge"),
        ("def f():\n    from mergebarrier.merge import ties", "mergebarrier.merge"),
        ("if TYPE_CHECKING:\n    from .. import merge", "mergebarrier.merge"),
    ],
)
def test_an_import_is_seen_however_it_is_written(statement: str, target: str, modules) -> None:
    protect = next(module for module in modules if module.name == "mergebarrier.protect.exact")
    changed = dataclasses.replace(protect, text=statement, tree=ast.parse(statement))
    assert [name for _, name in _imports(changed)] == [target]


def test_the_package_itself_is_no_room_to_import(modules) -> None:
    protect = next(module for module in modules if module.name == "mergebarrier.protect.exact")
    changed = dataclasses.replace(protect, tree=ast.parse("from mergebarrier import __version__\nimport torch"))
    assert _imports(changed) == []
