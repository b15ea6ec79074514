"""A package of mergekit's name that answers with this repository's engine, for running mergekit's own tests on it.

Only names that a user of mergekit 0.1.5 calls are here; all else is a placeholder that says so when a test touches it.
Written from the names that the tests import; no line of mergekit is in it.
"""

import importlib
import sys
import types

from mergekit import internals

for _name, _names in internals.MODULES.items():
    _module = types.ModuleType(_name)
    _module.__getattr__ = internals.attribute_of(_name)
    sys.modules[_name] = _module
for _name in ("common", "config", "io", "merge", "merge_methods", "options", "sparsify", "tokenizer"):
    importlib.import_module(f"mergekit.{_name}")
