"""Options that a dataclass declares are on the command line by that alone, and are checked there as everywhere."""

import pytest

import tiny_models
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


def test_an_option_that_is_words_for_one_method_and_a_number_for_another_is_read_as_each_means_it(
    tmp_path, run_cli
) -> None:
    base = tiny_models.save("llama-gqa-untied", tmp_path / "base")
    for order, more, found in (("key", (), "key"), ("auto", (), "key"), ("base", ("--base", base), "base")):
        words = ("--method", "params", "--order", order, *more, "-o", tmp_path / order, "--dry-run", "--json")
        ran = run_cli("protect", base, *words)
        assert ran.exit_code == 0 and ran.json["parameters"]["order"] == found
    for method, order, says in (
        ("params", "8", "--order"),
        ("mergebarrier", "key", "'key' is not a whole number"),
        ("mergebarrier", "3", "--order"),
    ):
        ran = run_cli("protect", base, "--method", method, "--order", order, "-o", tmp_path / "x")
        assert ran.exit_code == 64 and says in ran.stderr and not (tmp_path / "x").exists()
