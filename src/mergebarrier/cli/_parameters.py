"""Options of the command line that our registries fill: hyper-parameters of methods, as they declare them, and cures.

    @click.command(cls=DeclaredCommand, registry=lambda: MERGES, options=options_of, title="Parameters of the methods")
    @parameter_options(PROTECTIONS)        the same among the other options, for a registry that is complete by then
    @cleanse_options                       which cure, the tasks that it may look at, and what ought to be refused
    chosen(MERGES, "ties", given)          {"density": .5}, or UsageError for an option of another method

One flag per hyper-parameter, for all that have it; names, types, help and defaults are those of the fields.  A
DeclaredCommand reads its registry each time that it is asked for its options, so what is added to it is there at once.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import click

from mergebarrier.cli._options import MODEL
from mergebarrier.errors import UsageError
from mergebarrier.parameters import FINITE, Parameter, flag_of, parameters_of

__all__ = [
    "CURES",
    "LANGUAGE_CURES",
    "CleanseOptions",
    "DeclaredCommand",
    "Registry",
    "chosen",
    "cleanse_options",
    "flag_in",
    "options_of",
    "parameter_options",
]

#: name -> a dataclass whose fields are declared, or an instance of one, whose values are then the defaults.
Registry: TypeAlias = Mapping[str, object]
_SHOWN: Final = 4  # names before "and N more"
_METAVARS: Final = {"subset": "A,B,..", "listing": "X,X,.."}
_RANGED: Final = ("number", "numbers", "listing", "whole")
_WORDS: Final = {True: "on", False: "off"}


class _Use(NamedTuple):
    owner: str
    field: str
    parameter: Parameter
    default: object


class DeclaredCommand(click.Command):
    """A command with more options than its decorators say.

    Args:
      registry: returns it as it is now.
      options:  registry -> the further options, ``options_of`` or more.
      title:    of their section in the help text.
    """

    def __init__(
        self,
        *args: Any,
        registry: Callable[[], Registry],
        options: Callable[[Registry], list[click.Option]],
        title: str,
        **settings: Any,
    ) -> None:
        """Keep what gives the options; nothing is looked up yet."""
        self._registry, self._options, self._title = registry, options, title
        self._known: Registry = {}
        self._declared: list[click.Option] = []
        super().__init__(*args, **settings)

    @property
    def params(self) -> list[click.Parameter]:
        """The options of the decorators, then those declared; click changes the list in place, so it stays one list."""
        found = self._registry()
        if found != self._known:
            self._known, self._declared = dict(found), self._options(found)
            self._all = [*self._decorated, *self._declared]
        return self._all

    @params.setter
    def params(self, decorated: list[click.Parameter]) -> None:
        self._decorated, self._all = decorated, [*decorated, *self._declared]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write those of the declarations in a section of their own."""
        usual = [option for option in self.get_params(ctx) if option not in self._declared]
        for title, options in (("Options", usual), (self._title, self._declared)):
            shown = [option.get_help_record(ctx) for option in options if isinstance(option, click.Option)]
            with formatter.section(title):
                formatter.write_dl([record for record in shown if record is not None])


def options_of(registry: Registry) -> list[click.Option]:
    """Return one option per flag; a flag that several have does for each what its own declaration says."""
    flags: dict[str, list[_Use]] = {}
    for owner, kind in registry.items():
        for field, parameter in parameters_of(kind).items():
            if parameter.flag != "-":
                whose = owner if len(registry) > 1 else ""
                use = _Use(whose, field, parameter, getattr(kind, field, dataclasses.MISSING))
                flags.setdefault(flag_of(field, parameter), []).append(use)
    return [_option(flag, uses) for flag, uses in flags.items()]


def parameter_options(
    registry: Registry, *, without: Collection[str] = ()
) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """Add the options of a registry to a verb, but for some fields; each comes by its field, None where not given."""

    def decorate(verb: Callable[..., object]) -> Callable[..., object]:
        for option in reversed([option for option in options_of(registry) if option.name not in without]):
            verb.__dict__.setdefault("__click_params__", []).append(option)
        return verb

    return decorate


def chosen(registry: Registry, name: str, given: Mapping[str, object]) -> dict[str, object]:
    """Return the values of the options that were given, by field, as a member of a registry takes them.

    Args:
      registry: of which the options are.
      name:     of the member.
      given:    option values by field; None or () where there was none.
    Raises: UsageError for an option that the member does not have, or one that it needs and lacks.
    """
    kind = registry[name]
    declared = parameters_of(kind)
    values = {field: value for field, value in given.items() if value is not None and value != ()}
    for field in values:
        if field not in declared:
            raise UsageError(f"not an option of {name}", where=flag_in(registry, field), remedy="leave it out")
    assert dataclasses.is_dataclass(kind)
    for item in dataclasses.fields(kind):
        if item.default is dataclasses.MISSING and item.name in declared and item.name not in values:
            flag, noun = flag_of(item.name, declared[item.name]), declared[item.name].noun or "it"
            raise UsageError(f"{name} needs {noun}", where=flag, remedy=f"give {flag}, such as {flag} 0.5")
    for field, value in values.items():
        if not declared[field].each and isinstance(value, tuple) and len(value) == 1:
            values[field] = value[0]
        if declared[field].kind in ("subset", "listing", "whole") and isinstance(value, str):
            values[field] = _split(field, declared[field], value)
    return values


def _split(field: str, parameter: Parameter, value: str) -> object:
    """Read a list with commas, or a number of an option that is words for another method."""
    parts, whole = tuple(part.strip() for part in value.split(",")), parameter.kind == "whole"
    if parameter.kind == "subset":
        return parts
    try:
        return int(value[:18]) if whole else tuple(float(part) for part in parts)
    except ValueError:
        raise UsageError(
            f"{value!r} is not {parameter.noun or ('a whole number' if whole else 'a list of numbers')}",
            where=flag_of(field, parameter),
            remedy=f"give {parameter.allowed}",
        ) from None


def flag_in(registry: Registry, field: str) -> str:
    """Return the flag of a field that some member of a registry has."""
    every = [parameters_of(kind) for kind in registry.values()]
    return next((flag_of(field, declared[field]) for declared in every if field in declared), flag_of(field))


def _option(flag: str, uses: Sequence[_Use]) -> click.Option:
    field, first = uses[0].field, uses[0].parameter
    help_text = _help(uses)
    if {"whole", "choice"} <= {use.parameter.kind for use in uses}:  # each method reads it as its own
        shown = dict.fromkeys(word for use in uses for word in use.parameter.choices or ("N",))
        return click.Option([flag, field], type=str, metavar="|".join(shown), help=help_text)
    if first.kind == "flag":
        return click.Option([f"{flag}/--no-{flag.lstrip('-')}", field], default=None, help=help_text)
    if first.kind in ("subset", "listing", "string"):
        metavar = _METAVARS.get(first.kind, first.noun)
        return click.Option([flag, field], type=str, metavar=metavar, help=help_text)
    if first.kind == "choice":
        words = click.Choice(list(dict.fromkeys(word for use in uses for word in use.parameter.choices)))
        return click.Option([flag, field], type=words, help=help_text)
    if first.kind == "whole":
        return click.Option([flag, field], type=int, metavar="N", help=help_text)
    several = any(use.parameter.kind == "numbers" for use in uses)
    return click.Option([flag, field], type=float, metavar="X", multiple=several, help=help_text)


def _help(uses: Sequence[_Use]) -> str:
    """Return who has the option and what it does there; those that say the same are named together, a lone one not."""
    owners: dict[str, list[str]] = {}
    for use in uses:
        owners.setdefault(_sentence(use.parameter, use.default), []).append(use.owner)
    told = "  ".join(f"{_named(names)}{text}" for text, names in owners.items()).lstrip(":, ")
    return told[0].upper() + told[1:] if uses[0].owner == "" else told


def _sentence(parameter: Parameter, default: object) -> str:
    """Say when it counts, what it means, what it may be and what it is by default."""
    only = f", {parameter.only}" if parameter.only else ""
    ranged = parameter.kind in _RANGED and -math.inf < parameter.low < parameter.high < FINITE
    allowed = f" ({parameter.allowed})" if ranged or parameter.kind == "subset" else ""
    text = f"{only}: {parameter.help[0].lower()}{parameter.help[1:].rstrip('.')}{allowed}."
    if default is dataclasses.MISSING or default in (None, (), ""):
        return text
    if isinstance(default, bool):
        return f"{text}  [default: {_WORDS[default]}]"
    if isinstance(default, tuple):
        default = "all" if default == parameter.choices else ",".join(map(_plain, default))
    return f"{text}  [default: {_plain(default)}]"


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _named(names: Sequence[str]) -> str:
    if len(names) <= _SHOWN:
        return ", ".join(names)
    return f"{', '.join(names[: _SHOWN - 1])} and {len(names) - _SHOWN + 1} more"


#: The keys of ``scan.cures.CURES`` and those of ``scan.cures.language.LANGUAGE_CURES``, written here because the help
#: text must not import torch; a test compares them.
CURES: Final = ("drop", "lfpm_like", "ibvs", "fine_pruning", "dam", "awm", "sau", "switching")
LANGUAGE_CURES: Final = ("drop", "fine_pruning", "relearning", "substitution", "refusals")
#: The cure that needs questions.
_ASKING: Final = "refusals"


@dataclass(frozen=True)
class CleanseOptions:
    """The cure, None for none, the task files, and questions that ought to be refused."""

    cure: str | None
    tasks: tuple[Path, ...]
    refusals: tuple[Path, ...]

    def refuse_any(self, why: str) -> None:
        """Raise UsageError when one of the options was given where it has no meaning."""
        given = {"--cleanse": self.cure, "--task": self.tasks, "--refusals": self.refusals}
        stray = next((option for option, value in given.items() if value), None)
        if stray is not None:
            raise UsageError(why, where=stray, remedy="leave it out")

    def check(self) -> None:
        """Raise UsageError when one of the options is there without another that it needs."""
        if self.cure is None and self.tasks:
            raise UsageError("has no effect without --cleanse", where="--task", remedy="name a cure, or leave it out")
        if self.cure is not None and not self.tasks:
            raise UsageError(
                "needs the task of every model, for dev images or prompts", where="--cleanse", remedy="give --task"
            )
        if self.cure == _ASKING and not self.refusals:
            raise UsageError(f"{_ASKING} needs what ought to be refused", where="--cleanse", remedy="give --refusals")

    def refuse_questions(self) -> None:
        """Raise UsageError for questions that no cure asks."""
        if self.refusals and self.cure != _ASKING:
            what = f"has no effect without --cleanse {_ASKING}"
            raise UsageError(what, where="--refusals", remedy="name that cure, or leave it out")


def cleanse_options(function: Callable[..., object]) -> Callable[..., object]:
    """Add ``--cleanse``, ``--task`` and ``--refusals``; the verb gets ``cleanse: CleanseOptions``."""

    @click.option(
        "--cleanse",
        "cure",
        type=click.Choice(list(dict.fromkeys((*CURES, *LANGUAGE_CURES)))),
        help="Try to remove a backdoor from the merge; of language models: "
        f"{', '.join(LANGUAGE_CURES[:-1])}, or {_ASKING}, which brings refusals back.",
    )
    @click.option(
        "--task",
        "tasks",
        type=MODEL,
        multiple=True,
        metavar="FILE",
        help="The task of each MODEL, in order: dev images of TASK.task.safetensors, or prompts of TASK.jsonl.",
    )
    @click.option(
        "--refusals",
        type=MODEL,
        multiple=True,
        metavar="FILE",
        help="Language models: questions, each answered as it ought to be refused; repeatable.",
    )
    @functools.wraps(function)
    def verb(
        *args: object, cure: str | None, tasks: tuple[Path, ...], refusals: tuple[Path, ...], **kwargs: object
    ) -> object:
        return function(*args, cleanse=CleanseOptions(cure, tasks, refusals), **kwargs)

    return verb
