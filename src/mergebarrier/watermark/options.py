"""What is chosen before a service opens, and before a suspect is asked; declared once, loads nothing."""

from dataclasses import dataclass

from mergebarrier.errors import UsageError
from mergebarrier.parameters import check_values, choice, number, string, whole

#: Watermarks of the sampler.
GREEN, SYNTHID = SAMPLED = ("green", "synthid")
MODES = ("keyed", "published", *SAMPLED)


@dataclass(frozen=True, kw_only=True)
class ShieldOptions:
    """How a service watermarks what it says."""

    mode: str = choice(
        "keyed",
        choices=MODES,
        help="The key chooses words, or the model does; or the key leans the sampler, and there are no words.",
    )
    words: int = whole(3, help="Words per query.", low=1, high=16, only="with --mode keyed")
    bias: float = number(
        2.0, help="Added to the logits of green tokens.", low=0, above=True, high=20, only="with --mode green"
    )
    template: str = string("", help="What the model is asked, with {query} and {words}.", noun="TEXT")

    def __post_init__(self) -> None:
        """Check the values, and that the template holds what it must."""
        check_values(self)
        for name, mode in (("words", "keyed"), ("bias", GREEN)):
            if self.mode != mode and getattr(self, name) != getattr(type(self), name):
                what = f"it is of --mode {mode}, and the mode is {self.mode}"
                raise UsageError(what, where=f"--{name}", remedy=f"leave it out, or give --mode {mode}")
        needed = ["{query}"] + ["{words}"] * (self.mode == "keyed")
        for place in needed if self.template else ():
            if self.template.count(place) != 1:
                what = f"{place} stands in it {self.template.count(place)} times"
                raise UsageError(what, where="--template", remedy=f"write {' and '.join(needed)} once each")


@dataclass(frozen=True, kw_only=True)
class PairingOptions:
    """What is fixed before the suspect is asked."""

    queries: int = whole(400, help="Queries put to a suspect, in an order that the key draws.", low=50, high=100_000)
    permutations: int = whole(9999, help="Random pairings of answers and words.", low=99, high=10_000_000)
    decoys: int = whole(999, help="Fresh keys whose words nobody used; 0 for none.", high=1_000_000)
    level: float = number(0.01, help="At which a suspect is declared.", low=0, high=0.5, above=True)

    def __post_init__(self) -> None:
        """Check the values."""
        check_values(self)


@dataclass(frozen=True, kw_only=True)
class RadioactivityOptions:
    """What is fixed before the suspect is asked."""

    queries: int = whole(400, help="Queries put to a suspect, in an order that the key draws.", low=1, high=100_000)
    decoys: int = whole(199, help="Fresh keys that nobody used; 0 for none.", high=1_000_000)
    level: float = number(0.01, help="At which a suspect is declared.", low=0, high=0.5, above=True)

    def __post_init__(self) -> None:
        """Check the values."""
        check_values(self)
