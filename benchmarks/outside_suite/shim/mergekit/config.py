"""Recipes as objects: tables with attributes, turned into YAML text and read by our own parser."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from mergebarrier.merge.recipe.values import ends, evaluate, parse_setting
from mergekit import internals

ParameterSetting = Any


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())

    def plain(self) -> Any:
        """Return the table as YAML would hold it."""
        return plain(self)


class InputModelDefinition(_Table):
    """An entry of ``models``."""

    model: Any
    parameters: dict[str, Any] | None = None


class InputSliceDefinition(_Table):
    """An entry of ``sources``."""

    model: Any
    layer_range: Any
    parameters: dict[str, Any] | None = None


class OutputSliceDefinition(_Table):
    """An entry of ``slices``."""

    sources: list[InputSliceDefinition]
    base_model: Any = None
    parameters: dict[str, Any] | None = None


class OutputModuleDefinition(_Table):
    """An entry of ``modules``."""

    slices: list[OutputSliceDefinition] | None = None
    models: list[InputModelDefinition] | None = None
    parameters: dict[str, Any] | None = None


class MergeConfiguration(_Table):
    """A recipe."""

    merge_method: str
    models: list[InputModelDefinition] | None = None
    slices: list[OutputSliceDefinition] | None = None
    modules: dict[str, OutputModuleDefinition] | None = None
    base_model: Any = None
    parameters: dict[str, Any] | None = None
    dtype: str | None = None
    out_dtype: str | None = None
    tokenizer: Any = None
    tokenizer_source: Any = None
    chat_template: str | None = None


def plain(value: Any) -> Any:
    """Return lists, tables, text and numbers; what is not given is left out."""
    if isinstance(value, BaseModel):
        value = {key: getattr(value, key) for key in type(value).model_fields}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str) else str(value)


def evaluate_setting(name: str, setting: Any, t: float = 0.0, *, validate: Callable[[Any], Any] | None = None) -> Any:
    """Return the value of a setting for a tensor, by our own reader of values; ``validate`` tells the declared type."""
    flag = False
    if validate is not None:
        with suppress(ValidationError):
            flag = isinstance(validate(True), bool) and isinstance(validate(0), bool)
    parsed = parse_setting(setting, name)
    for end in ends(parsed) if validate is not None else ():
        validate(end)
    value = evaluate(parsed, name, t, flag=flag)
    return validate(value) if validate is not None else value


__getattr__ = internals.attribute_of("mergekit.config")
