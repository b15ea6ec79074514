"""The options of ``merge`` that are hyper-parameters of a method: one flag per parameter, the same for all methods.

The names of the methods are written here too, because the help text must not import torch; tests compare both with
the registry.
"""

from collections.abc import Callable
from typing import Any, Final

import click

from mergebarrier.errors import UsageError

__all__ = ["LEARNED", "METHODS", "hyper_parameters", "parameter_options"]

#: The keys of ``merge.MERGES``.
METHODS: Final = (
    "linear",
    "task_arithmetic",
    "ties",
    "dare_linear",
    "dare_ties",
    "slerp",
    "nuslerp",
    "multislerp",
    "karcher",
    "nearswap",
    "passthrough",
    "breadcrumbs",
    "breadcrumbs_ties",
    "della",
    "della_linear",
    "model_stock",
    "sce",
    "arcee_fusion",
    "ram",
    "ramplus_tl",
    "magmax",
    "consensus",
    "emr",
    "pcb",
    "iso_c",
    "iso_cts",
    "tsv_m",
    "wudi",
    "wudi_exact",
    "knots",
)
#: The keys of ``merge.DATA_MERGES``: methods that learn from ``--data``.
LEARNED: Final = ("fisher", "regmean", "regmean_plus", "adamerging", "concrete")
_ONE_OR_EACH: Final = ("density", "gamma", "epsilon")


def _real(name: str, metavar: str, text: str) -> Any:
    return click.option(name, type=float, metavar=metavar, help=text)


def _whole(name: str, text: str) -> Any:
    return click.option(name, type=int, metavar="N", help=text)


def _flag(name: str, text: str) -> Any:
    return click.option(f"--{name}/--no-{name}", default=None, help=text)


def _each(name: str, metavar: str, text: str, *declared: str) -> Any:
    return click.option(name, *declared, type=float, multiple=True, metavar=metavar, help=text)


_OPTIONS: Final = (
    _each("--weight", "W", "Per model, or one for all.", "weights"),
    _each("--density", "D", "ties, dare, della, breadcrumbs: kept share, per model or for all."),
    _real("--coefficient", "L", "Lambda, multiplies the merged task vector."),
    click.option("-t", "t", type=float, metavar="T", help="slerp: 0 is the first model, 1 the second. nearswap: step."),
    _flag("normalize", "Divide by the sum of the weights."),
    click.option(
        "--rescale", type=click.Choice(["l1", "l2", "linf", "inverse", "none"]), help="With --density: after thinning."
    ),
    click.option("--elect", type=click.Choice(["weighted", "unweighted"]), help="ties: what signs are elected over."),
    click.option("--elect-zero", type=click.Choice(["plus", "majority"]), help="ties: the sign of a zero sum."),
    click.option(
        "--reduce", type=click.Choice(["weighted_mean", "mean", "sum", "max"]), help="ties: over agreeing entries."
    ),
    click.option("--arith", type=click.Choice(["fp32", "input"]), help="Precision of the arithmetic on task vectors."),
    _each("--gamma", "G", "breadcrumbs: share dropped as outliers."),
    _each("--epsilon", "E", "della: half range of the probability. ram: smallest change."),
    _real("--max-cosine", "C", "slerp: above it the straight line is taken."),
    _flag("flatten", "nuslerp: one angle per tensor."),
    _flag("row-wise", "nuslerp: with --no-flatten, along the first axis."),
    _flag("task-vectors", "nuslerp, multislerp: about the base; on when --base is given."),
    _real("--eps", "E", "multislerp: added to norms."),
    _whole("--max-iter", "karcher: steps at most."),
    _real("--tol", "X", "karcher: stop below this step."),
    _real("--scale", "S", "passthrough: multiplies the model."),
    _flag("filter-wise", "model_stock: one angle per row."),
    _real("--select-topk", "K", "sce: kept share of the entries that vary."),
    _real("--r", "R", "ramplus_tl: gain of unique changes."),
    _real("--alpha", "A", "ramplus_tl: cap of the shared-to-unique ratio."),
    _real("--mask-lambda", "L", "consensus: the larger, the fewer entries an expert claims."),
    _whole("--agreement", "consensus: experts that must claim an entry."),
    _real("--top", "P", "pcb: share of the entries that an expert claims."),
    _real("--outliers", "P", "pcb: share of magnitudes clipped at either end."),
    _real("--common-space-fraction", "P", "iso_cts: share of the directions taken from the sum."),
    _whole("--steps", "wudi, adamerging, concrete: of Adam."),
    _real("--learning-rate", "X", "wudi, adamerging, concrete: of Adam."),
    click.option(
        "--inner",
        type=click.Choice(["ties", "dare_ties", "dare_linear", "task_arithmetic"]),
        help="knots: what is done in the joint basis.",
    ),
    _real("--ridge", "X", "wudi_exact: relative to the mean eigenvalue. regmean: to each input's second moment."),
    _real("--off-diagonal", "A", "regmean: factor on what two inputs have in common."),
    click.option("--labels", type=click.Choice(["sampled", "exact"]), help="fisher: drawn, or a sum over classes."),
    _real("--floor", "X", "fisher: added to every weight's information."),
    click.option(
        "--scope", type=click.Choice(["tensor", "model"]), help="ties: the cut. adamerging: the coefficients."
    ),
    _real("--start", "L", "adamerging, concrete: first coefficient."),
    _flag("clamp", "adamerging, concrete: keep coefficients in 0 to 1."),
    click.option("--host", type=click.Choice(["task_arithmetic", "adamerging"]), help="concrete: what is masked."),
    _whole("--host-steps", "concrete: of Adam on coefficients, after the mask."),
    _real("--temperature", "T", "concrete: of the drawn masks."),
)


def parameter_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add one option per hyper-parameter; the verb gets those not given as None or ``()``."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def hyper_parameters(method: str, parameters: dict[str, Any], *, seed: int, based: bool) -> dict[str, Any]:
    """Turn the options that were given into the parameters of ``merge.make``.

    Args:
      method:     one of METHODS or LEARNED.
      parameters: option values by parameter name.
      seed:       for a method that draws.
      based:      whether a base was given: a method whose base is optional then works on task vectors.
    Raises: UsageError for an option that the method does not have, or one that it needs and lacks.
    """
    from dataclasses import MISSING, fields

    from mergebarrier.merge import DATA_MERGES, MERGES

    given = {name: value for name, value in parameters.items() if value is not None and value != ()}
    kind: Any = {**MERGES, **DATA_MERGES}[method]
    known = {field.name: field for field in fields(kind)}
    options = {"weights": "--weight", "t": "-t"}
    for name in given:
        if name not in known:
            option = options.get(name, "--" + name.replace("_", "-"))
            raise UsageError(f"not an option of {method}", where=option, remedy="leave it out")
    if "t" in known and known["t"].default is MISSING and "t" not in given:
        what = "a place between the two models" if method == "slerp" else "a step"
        raise UsageError(f"{method} needs {what}", where="-t", remedy="give -t, such as -t 0.5")
    for name in _ONE_OR_EACH:
        if len(given.get(name, ())) == 1:
            given[name] = given[name][0]
    if "task_vectors" in known:
        given.setdefault("task_vectors", based)
    return given | ({"seed": seed} if "seed" in known else {})
