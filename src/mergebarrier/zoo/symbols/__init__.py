"""The small bench of language: tasks over sixteen symbols, and the base that knows twelve of them."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.zoo.symbols import symbol_base, symbol_tasks

__all__ = [
    "symbol_base",
    "symbol_tasks",
]

lazy.open_door(__name__)
