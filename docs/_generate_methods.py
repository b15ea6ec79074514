"""Write docs/methods.md from what the merge methods declare: `python docs/_generate_methods.py`; a test compares."""

import dataclasses
import inspect
from pathlib import Path

from mergebarrier.merge import DATA_MERGES, MERGES, DataMerge, Merge
from mergebarrier.parameters import Parameter, parameters_of

_HEAD = """# Merge methods

Every method of `mergebarrier merge --method NAME`, of a recipe's `merge_method: NAME` and of `mb.merge(method=...)`.
A parameter is an option of the command line; the column "recipe" says how [a recipe](recipes.md) gives it: under
`parameters` by the name there ("each model" may have its own), or for the whole recipe under the key `mergebarrier`.
Methods of the second list learn from `--data` ([data_merges.md](data_merges.md)) and are not called by recipes.

This page is generated from the declarations in `src/mergebarrier/merge` by `python docs/_generate_methods.py`; how a
method is added is described in [add_a_merge_method.md](add_a_merge_method.md).
"""
_COLUMNS = "| parameter | option | recipe | values | default | meaning |\n|---|---|---|---|---|---|\n"


def render() -> str:
    """Return the text of docs/methods.md."""
    plain = "".join(_section(kind) for kind in MERGES.values())
    learned = "".join(_section(kind, recipes=False) for kind in DATA_MERGES.values())
    return f"{_HEAD}\n{_overview()}\n{plain}\n# Methods that learn from data\n\n{learned}".rstrip() + "\n"


def _overview() -> str:
    rows = [f"| [`{name}`](#{name}) | {_summary(kind)} | {_base(kind)} | {_experts(kind)} |\n" for name, kind in _all()]
    return "| method | what it does | base | models besides the base |\n|---|---|---|---|\n" + "".join(rows)


def _all() -> list[tuple[str, type[Merge] | type[DataMerge]]]:
    return [*MERGES.items(), *DATA_MERGES.items()]


def _section(kind: type[Merge] | type[DataMerge], *, recipes: bool = True) -> str:
    """Return what there is to know of one method; the file that it stands in says more."""
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    optional_base = kind.optional_base if issubclass(kind, Merge) else ""
    rows = []
    for name, one in parameters_of(kind).items():
        recipe = _recipe(name, one, by_base=name == optional_base) if recipes else "-"
        only = f", {one.only}" if one.only else ""
        cells = (f"`{name}`", _option(name, one), recipe, one.allowed, _default(defaults[name]))
        rows.append(f"| {' | '.join(_cell(cell) for cell in cells)} | {_cell(one.help.rstrip('.') + only)} |\n")
    table = "\n" + _COLUMNS + "".join(rows) if rows else "\nIt has no parameters.\n"
    return f"## {kind.name}\n\n{_summary(kind)} {_file(kind)}\n{table}\n"


def _summary(kind: type[Merge] | type[DataMerge]) -> str:
    return (inspect.getdoc(kind) or "").split("\n")[0].replace("``", "`")


def _file(kind: type[Merge] | type[DataMerge]) -> str:
    return f"Equation and source: `src/{kind.__module__.replace('.', '/')}.py`."


def _base(kind: type[Merge] | type[DataMerge]) -> str:
    if issubclass(kind, Merge) and kind.optional_base:
        return "optional"
    return "needed" if kind.uses_base else "not used"


def _experts(kind: type[Merge] | type[DataMerge]) -> str:
    low, high = (kind.min_experts, kind.max_experts) if issubclass(kind, Merge) else (1, None)
    if low == high:
        return str(low)
    return f"{low} or more" if high is None else f"{low} to {high}"


def _option(name: str, one: Parameter) -> str:
    if one.flag == "-":
        return "`--seed`" if name == "seed" else "-"
    flag = one.flag or "--" + name.replace("_", "-")
    return f"`{flag}`, `--no-{flag.lstrip('-')}`" if one.kind == "flag" else f"`{flag}`"


def _recipe(name: str, one: Parameter, *, by_base: bool) -> str:
    if by_base:
        return "by `base_model`"
    if one.words is not None:
        return f"`{one.recipe}`: true is {one.words[0]}, false {one.words[1]}; all words: `mergebarrier: {name}`"
    if not one.gradient:
        return f"`mergebarrier: {name}`"
    return f"`{one.recipe or name}`" + (", each model" if one.per_model else "")


def _default(value: object) -> str:
    if value is dataclasses.MISSING:
        return "must be given"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "none" if value is None or value == () else f"{value:g}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "or")


if __name__ == "__main__":
    Path(__file__).with_name("methods.md").write_text(render(), encoding="utf-8")
