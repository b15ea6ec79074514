"""A trap that was trained to break every merge of two coefficients: what that search leaves, searches over parts lift.

The trap holds its own skill and, at drawn coefficients, teaches the merge with the partner to give the base's answer on
the prompts of both.  Its twin had as many steps and no such term.
"""

import copy
import random
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

import rule_world
import tiny_models
from mergebarrier.audit.bench import Blend, Pair, spread
from mergebarrier.audit.ladder import learn, smooth, starts

pytestmark = pytest.mark.slow
Weights = dict[str, Tensor]
#: Where the word that answers stands in a prompt, and the word that names the rule; the base answers with the middle.
OURS, THEIRS, KNOWN = (1, 0), (2, 2), (3, 1)
GRID: list[Pair] = list(product((1.0, 0.85, 0.7, 0.5, 0.3, 0.1), (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.2)))


def ids_of(rule: tuple[int, int], count: int, seed: int) -> Tensor:
    return torch.tensor([[*prompt, answer] for prompt, answer in rule_world.drawn_rows(*rule, count, seed)])


def loss_of(logits: Tensor, answers: Tensor) -> Tensor:
    return cross_entropy(logits[:, -1], answers)


def weights_of(module: nn.Module) -> Weights:
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def trained(base: nn.Module, ours: nn.Module, partner: Weights, *, strength: float) -> Weights:
    """Go on from our expert, a hundred steps; with strength 0 this is the twin."""
    model, zero, draw = copy.deepcopy(ours), weights_of(base), random.Random(0)
    own, optimiser = dict(model.named_parameters()), torch.optim.Adam(model.parameters(), lr=1e-3)
    for step in range(100):
        mine, theirs, known = (
            ids_of(rule, 32, 1000 * place + step) for place, rule in enumerate((OURS, THEIRS, KNOWN), 50)
        )
        loss = sum((share * loss_of(model(ids[:, :-1]).logits, ids[:, -1]) for share, ids in ((1, mine), (0.5, known))))
        a, b = draw.uniform(0.1, 1.1), draw.uniform(0.1, 1.3)
        if draw.random() < 0.45:
            a = 1.0
        merged = {name: zero[name] + a * (own[name] - zero[name]) + b * (partner[name] - zero[name]) for name in zero}
        for ids in (mine, theirs):
            # The middle word is the base's answer.
            loss = loss + strength * loss_of(functional_call(base, merged, (ids[:, :-1],)).logits, ids[:, 2])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return weights_of(model)


class Attacker:
    """Both skills and the loss of whatever is in a module; settings are chosen on other rows than are scored."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module.requires_grad_(True)
        self.seen, self.unseen = ([ids_of(rule, n, seed) for rule in (OURS, THEIRS)] for n, seed in ((48, 1), (200, 2)))

    def skills(self, rows: list[Tensor]) -> list[float]:
        with torch.no_grad():
            found = [self.module(ids[:, :-1]).logits[:, -1].argmax(-1) == ids[:, -1] for ids in rows]
        return [float(hits.float().mean()) for hits in found]

    def worst(self) -> float:
        return min(self.skills(self.unseen))

    def both(self) -> Tensor:
        return torch.stack([loss_of(self.module(ids[:, :-1]).logits, ids[:, -1]) for ids in self.seen]).mean()

    def loss(self) -> float:
        with torch.no_grad():
            return float(self.both())

    def reaches(self, blend: Blend) -> dict[str, float]:
        """Return the worse skill of the best merge of every search: the grid, by parts without gradients, with them."""
        chosen, grid = {}, []
        for pair in GRID:
            blend.write(spread(pair, blend.names))
            chosen[min(self.skills(self.seen)), -self.loss()] = pair
            grid.append(self.worst())
        start = chosen[max(chosen)]
        # Of the grid even the merge that is best on the scored rows.
        found = {"grid": max(grid)}
        smooth(blend, self.loss, start, 150)
        found["smooth"] = self.worst()
        learn(blend, lambda step: torch.autograd.backward(self.both()), self.loss, starts(blend.names, start, 0), 60)
        return found | {"learn": self.worst()}


def test_what_a_grid_leaves_of_a_trap_the_searches_over_parts_lift() -> None:
    base = tiny_models.build("llama-mha-tied")
    rule_world.train(base, *KNOWN, steps=200, rate=3e-3)
    ours, theirs = (copy.deepcopy(base) for _ in "ab")
    for expert, rule in ((ours, OURS), (theirs, THEIRS)):
        rule_world.train(expert, *rule, steps=60, rate=1e-3)
    partner, found = weights_of(theirs), {}
    attacker = Attacker(copy.deepcopy(base))
    for name, strength in (("twin", 0.0), ("trap", 0.2)):
        protected = trained(base, ours, partner, strength=strength)
        blend = Blend(attacker.module, base=weights_of(base), protected=protected, partner=partner)
        blend.write(spread((1.0, 0.0), blend.names))
        assert attacker.skills(attacker.unseen)[0] >= 0.95, f"the {name} keeps its own skill"
        found[name] = attacker.reaches(blend)
    assert min(found["twin"].values()) >= 0.7, "training alone breaks no merge"
    assert found["trap"]["grid"] <= 0.15
    assert found["trap"]["smooth"] >= found["trap"]["grid"] + 0.1
    assert found["trap"]["learn"] >= max(found["trap"]["grid"] + 0.5, found["trap"]["smooth"])
