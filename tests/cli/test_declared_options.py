"""Options that a dataclass declares are on the command line by that alone, and are checked there as everywhere."""

import pytest

from mergebarrier.attack import AttackOptions
from mergebarrier.audit import AuditOptions
from mergebarrier.parameters import flag_of, parameters_of
from mergebarrier.protect import PROTECTIONS
from mergebarrier.realign import REALIGNMENTS

DECLARED = [
    *(("protect", kind) for kind in PROTECTIONS.values()),
    *(("realign", kind) for kind in REALIGNMENTS.values()),
    ("audit", AuditOptions),
    ("attack badmerging", AttackOptions),
]


@pytest.mark.parametrize(("verb", "kind"), DECLARED)
def test_every_declaration_is_in_the_help(verb, kind, run_cli) -> None:
    helps = " ".join(run_cli(*verb.split(), "--help").stdout.split())
    for name, parameter in parameters_of(kind).items():
        assert parameter.flag == "-" or f" {flag_of(name, parameter)}" in helps


def test_every_realignment_says_what_sets_it_apart(run_cli) -> None:
    helps = " ".join(run_cli("realign", "--help").stdout.split()).replace("- ", "-")
    assert all(f"{name}: {method.about}" in helps for name, method in REALIGNMENTS.items())
    assert all(method.label == name for name, method in REALIGNMENTS.items())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("realign", "m", "--base", "b", "--sweeps", "0"), "--sweeps: 0 is not allowed; give a whole number from 1"),
        (("realign", "m", "--base", "b", "--method", "aga", "--sweeps", "2"), "--sweeps: not an option of aga"),
        (
            ("attack", "lobam", "--base", "b", "--task", "t", "--target-class", "0", "--learning-rate", "0"),
            "--learning-rate: 0.0 is not allowed; give a number above 0",
        ),
        (("protect", "m", "--only", "norms"), "--only: unknown part 'norms'; give some of attention, heads,"),
    ],
)
def test_a_bad_value_is_refused_with_what_is_allowed(words, says, run_cli, tmp_path) -> None:
    ran = run_cli(*words, "-o", tmp_path / "out")
    assert ran.exit_code == 64 and says in ran.stderr
