"""The source tree as data: every module of the package, what it imports, and where a name behind a door is defined."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = "mergebarrier"


@dataclass(frozen=True)
class Module:
    """One source file; ``room`` is the first name below ``mergebarrier`` ("" for the package itself)."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else ""

    @property
    def is_door(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def folder(self) -> str:
        """The package that the file stands in; a door stands in its own."""
        return self.name if self.is_door else self.name.rpartition(".")[0]

    def at(self, node: ast.AST) -> str:
        return f"{self.path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


@dataclass(frozen=True)
class Import:
    """One imported name of ours: ``from source import name``; ``name`` is "" for ``import source``."""

    node: ast.AST
    source: str
    name: str


def read_modules() -> list[Module]:
    """Parse every module of the package, in a fixed order."""
    modules = []
    for path in sorted((ROOT / "src" / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT / "src").with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        modules.append(Module(name, path, text, ast.parse(text)))
    return modules


def imports_of(module: Module) -> Iterator[Import]:
    """Yield what a module imports of ours, wherever the statement stands, absolute."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (Import(node, alias.name, "") for alias in node.names if _ours(alias.name))
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                above = module.folder.split(".")
                source = ".".join([*above[: len(above) - node.level + 1], *([source] if source else [])])
            if _ours(source):
                yield from (Import(node, source, alias.name) for alias in node.names if alias.name != "__version__")


def _ours(name: str) -> bool:
    return name.split(".")[0] == PACKAGE


class Tree:
    """All modules, with the imports between them followed through the doors."""

    def __init__(self, modules: Sequence[Module]) -> None:
        self.modules = {module.name: module for module in modules}
        self._behind = {
            module.name: {item.name: item.source for item in imports_of(module)} for module in modules if module.is_door
        }

    def is_door(self, name: str) -> bool:
        """Whether a name is that of a package."""
        return name in self._behind

    def target(self, item: Import) -> str:
        """Return the module that a statement names: a file or a door."""
        whole = f"{item.source}.{item.name}"
        behind = self._behind.get(item.source, {})
        return whole if whole in self.modules and behind.get(item.name, item.source) == item.source else item.source

    def defining(self, source: str, name: str) -> str:
        """Return the module that defines what ``from source import name`` gives."""
        behind = self._behind.get(source, {}).get(name, source)
        if behind != source:
            return self.defining(behind, name)
        whole = f"{source}.{name}"
        return whole if whole in self.modules else source

    @cached_property
    def graph(self) -> Mapping[str, frozenset[str]]:
        """File -> the files that define what it imports; a lazy door imports nothing by itself."""
        return {
            module.name: frozenset(self.defining(item.source, item.name) for item in imports_of(module)) - {module.name}
            for module in self.modules.values()
            if not (module.is_door and "open_door" in module.text)
        }


def circles(graph: Mapping[str, frozenset[str] | set[str]]) -> list[list[str]]:
    """Return the strongly connected components of more than one node, sorted (Tarjan)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in sorted(graph):
        if node not in order:
            visit(node)
    return found
