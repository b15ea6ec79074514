"""Heads have no order: groups may change places, and so may the query heads inside a group.

Row blocks of q, k, v (biases too) and column blocks of o move together.  Heads are recognised by the cosine of their
products W_o W_v, which no choice of basis inside a head changes.

    <O V, O0 V0> = tr((O^T O0)(V0 V^T)): head_dim x head_dim matrices only
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mergebarrier.symmetry import draw as maps
from mergebarrier.symmetry.linear import take_columns
from mergebarrier.symmetry.space import Draw, Tensors, map_rows, replaced


@dataclass(frozen=True)
class HeadOrder:
    """new group j = old group groups[j]; its query head m = old head (groups[j], members[j, m]).

    Attributes:
      groups: Int64[Tensor, "G"]; members: Int64[Tensor, "G r"].
    """

    groups: Tensor
    members: Tensor

    def query_heads(self) -> Tensor:
        """Return the old index of every new query head, Int64[Tensor, "H"]."""
        return (self.groups[:, None] * self.members.shape[1] + self.members).reshape(-1)


def _blocks(order: Tensor, width: int) -> Tensor:
    return (order[:, None] * width + torch.arange(width)).reshape(-1)


@dataclass(frozen=True)
class Heads:
    """Orders of query heads and key/value heads."""

    n_heads: int
    n_kv_heads: int
    head_dim: int

    @property
    def _members(self) -> int:
        return self.n_heads // self.n_kv_heads

    def identity(self) -> HeadOrder:
        """Return the order as it is."""
        return HeadOrder(torch.arange(self.n_kv_heads), torch.arange(self._members).repeat(self.n_kv_heads, 1))

    def sample(self, draw: Draw, *, profile: str, condition: float) -> HeadOrder:
        """Draw from purpose ``heads``: the order of groups, then of members group by group."""
        del profile, condition
        stream = draw("heads")
        groups = torch.from_numpy(maps.permutation(stream, self.n_kv_heads))
        members = [torch.from_numpy(maps.permutation(stream, self._members)) for _ in range(self.n_kv_heads)]
        return HeadOrder(groups, torch.stack(members))

    def act(self, element: HeadOrder, tensors: Tensors) -> dict[str, Tensor]:
        """Move the blocks; dtype kept, no rounding."""
        queries = _blocks(element.query_heads(), self.head_dim)
        groups = _blocks(element.groups, self.head_dim)
        if bool((queries == torch.arange(len(queries))).all()):
            return dict(tensors)
        changes = map_rows(tensors, "q", lambda w: w.index_select(0, queries))
        for role in ("k", "v"):
            changes |= map_rows(tensors, role, lambda w: w.index_select(0, groups))
        if "o.weight" in tensors:
            changes["o.weight"] = take_columns(tensors["o.weight"], queries)
        return replaced(tensors, changes)

    def inverse(self, element: HeadOrder) -> HeadOrder:
        """Return the order that undoes ``element``."""
        groups = torch.argsort(element.groups)
        return HeadOrder(groups, torch.argsort(element.members, dim=1)[groups])

    def compose(self, after: HeadOrder, before: HeadOrder) -> HeadOrder:
        """Return ``after`` behind ``before``."""
        return HeadOrder(before.groups[after.groups], before.members[after.groups].gather(1, after.members))

    def similarity(self, tensors: Tensors, anchor: Tensors) -> Tensor:
        """Return cosines of head products, Float64[Tensor, "H H"]: row = head now, column = head of the anchor."""

        def sides(source: Tensors) -> tuple[Tensor, Tensor]:
            value = source["v.weight"].double().reshape(self.n_kv_heads, self.head_dim, -1)
            output = source["o.weight"].double().reshape(-1, self.n_heads, self.head_dim).permute(1, 0, 2)
            return value.repeat_interleave(self._members, dim=0), output

        (value, output), (value0, output0) = sides(tensors), sides(anchor)

        def norms(v: Tensor, o: Tensor) -> Tensor:
            return ((o.mT @ o) * (v @ v.mT)).sum((1, 2)).clamp_min(1e-300).sqrt()

        outer = torch.einsum("jda,kdb->jkab", output, output0)
        inner = torch.einsum("jad,kbd->jkab", value, value0)
        return (outer * inner).sum((2, 3)) / norms(value, output)[:, None] / norms(value0, output0)[None]

    def estimate(self, tensors: Tensors, anchor: Tensors) -> HeadOrder:
        """Assign members inside every pair of groups, then groups by the sum of what their members reach."""
        from scipy.optimize import linear_sum_assignment

        g, r = self.n_kv_heads, self._members
        blocks = self.similarity(tensors, anchor).reshape(g, r, g, r).permute(0, 2, 1, 3).numpy()
        inside = [[linear_sum_assignment(blocks[now][then], maximize=True)[1] for then in range(g)] for now in range(g)]
        score = [[blocks[n][t][range(r), inside[n][t]].sum() for t in range(g)] for n in range(g)]
        groups = linear_sum_assignment(score, maximize=True)[1]
        members = torch.stack([torch.from_numpy(inside[now][groups[now]]) for now in range(g)])
        return HeadOrder(torch.from_numpy(groups), members)

    def invariants(self, tensors: Tensors) -> dict[str, Tensor]:
        """Return the sorted norms of the head products."""
        cosines = self.similarity(tensors, tensors)
        value = tensors["v.weight"].double().reshape(self.n_kv_heads, self.head_dim, -1)
        output = tensors["o.weight"].double().reshape(-1, self.n_heads, self.head_dim).permute(1, 0, 2)
        spread = value.repeat_interleave(self._members, dim=0)
        norms = ((output.mT @ output) * (spread @ spread.mT)).sum((1, 2)).sqrt()
        return {"norms": norms.sort().values, "cosines": cosines.flatten().sort().values}

    def bit_exact(self, element: HeadOrder) -> bool:
        """Always: order only."""
        del element
        return True
