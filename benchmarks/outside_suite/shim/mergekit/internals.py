"""Placeholders for mergekit's internal classes: harmless while tests are collected, an exception when one is used.

BoundToInternals  ->  the test is about how mergekit is built, not about what it does, and is counted as out
"""

from collections.abc import Callable, Iterator
from typing import Any

#: Modules that hold nothing a user calls, and why.
MODULES: dict[str, str] = {
    "mergekit.architecture": "tables of architectures",
    "mergekit.architecture.auto": "tables of architectures",
    "mergekit.architecture.conversion": "renaming of checkpoint keys",
    "mergekit.architecture.json_definitions": "tables of architectures",
    "mergekit.graph": "task graph and executor",
    "mergekit.io.tasks": "tasks of the graph",
    "mergekit.merge_methods.arcee_fusion": "a kernel class",
    "mergekit.merge_methods.base": "kernel classes",
    "mergekit.merge_methods.easy_define": "decorator for kernels",
    "mergekit.merge_methods.generalized_task_arithmetic": "a kernel class",
    "mergekit.merge_methods.preprocessing": "step of a kernel's input",
    "mergekit.merge_methods.registry": "registration of kernels",
    "mergekit.merge_methods.slerp": "a kernel",
    "mergekit.merge_methods.task_adapter": "tasks of the graph",
    "mergekit.parameter_resolver": "parameter classes",
    "mergekit.scripts": "programs",
    "mergekit.scripts.merge_raw_pytorch": "program for files without a configuration",
    "mergekit.scripts.tokensurgeon": "another program",
    "mergekit.tokenizer.config": "classes of the tokenizer",
}
running = False


class BoundToInternals(Exception):
    """A test used a class of mergekit that is no part of its behaviour."""


def _touch(name: str) -> None:
    if running:
        raise BoundToInternals(name)


class _Meta(type):
    """Classes that can be called, indexed, subclassed and looked into, as long as no test runs."""

    def __call__(cls, *_: Any, **__: Any) -> Any:
        _touch(cls.__name__)
        return placeholder(cls.__name__)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _touch(f"{cls.__name__}.{name}")
        return placeholder(f"{cls.__name__}.{name}")

    def __getitem__(cls, _: Any) -> Any:
        return cls

    def __iter__(cls) -> Iterator[Any]:
        yield placeholder(cls.__name__)


def placeholder(name: str) -> Any:
    """Return a class that stands for one of mergekit's."""
    return _Meta(name, (), {})


def attribute_of(module: str) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module of placeholders."""

    def find(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _touch(f"{module}.{name}")
        return placeholder(name)

    return find
