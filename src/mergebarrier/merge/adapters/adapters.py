"""Adapters merged with adapters into one more adapter, without the weights of the base.

    product space:  sum_i c_i s_i B_i A_i is exact and stays factored;  any other method sees the updates
                    tau_i = s_i B_i A_i of one module at a time, and its result is cut to a rank by an SVD
    factor space:   A and B are merged apart, as peft does, so that B A holds cross terms B_i A_j

Source: product space, peft's ``cat`` and arXiv 2410.19735; factor space, peft 0.21.2.  Differs: the residual of every
cut and the size of the cross terms are measured and reported.
"""

from collections.abc import Callable, Sequence
from typing import Final

from mergebarrier.checkpoint import ADAPTER_WEIGHTS, Adapter, Checkpoint, OutTensor, TensorInfo, place
from mergebarrier.errors import AdapterRefused, BadAdapter, BadMergeParameter, ShapeMismatch, clean
from mergebarrier.identity import finder, ties_of
from mergebarrier.merge.adapters import factors
from mergebarrier.merge.adapters.files import document, dump, factor_names, whole_name
from mergebarrier.merge.adapters.plan import AdapterModule, AdapterPlan, Measured
from mergebarrier.merge.method import Merge
from mergebarrier.merge.plan import MergeUnit

__all__ = [
    "FACTOR_METHODS",
    "AdapterModule",
    "AdapterPlan",
    "Measured",
    "dump",
    "plan_adapters",
]

#: Methods that factors may be merged by one by one.
FACTOR_METHODS: Final = ("linear", "task_arithmetic", "ties", "dare_linear", "dare_ties")
#: Methods that mean something on whole weights and nothing on updates.
NOT_ON_UPDATES: Final = ("arcee_fusion",)


def plan_adapters(
    adapters: Sequence[Adapter | None],
    method_of: Callable[[str], Merge],
    *,
    rank: int | None = None,
    space: str = "product",
    base: Checkpoint | None = None,
) -> AdapterPlan:
    """Check that adapters can be merged into one and lay out the work.

    Args:
      adapters:  in the order of the method's weights; None for the base itself among them.
      method_of: tensor of the base -> the method with the parameters that hold there.
      rank:      of the result at most; None keeps the sum of the ranks, which is exact for sums.
      space:     "product" or "factor".
      base:      the base, to check the adapters against; its weights are read only for tensors that are held whole.
    Raises: BadAdapter (made for different bases), ShapeMismatch, BadMergeParameter.
    """
    return _Planner(tuple(adapters), method_of, rank, space, base).plan()


class _Planner:
    def __init__(
        self,
        adapters: tuple[Adapter | None, ...],
        method_of: Callable[[str], Merge],
        rank: int | None,
        space: str,
        base: Checkpoint | None,
    ) -> None:
        self.adapters, self.method_of, self.rank, self.space, self.base = adapters, method_of, rank, space, base
        self.given = [adapter for adapter in adapters if adapter is not None]
        self.notes: dict[str, None] = {}

    def plan(self) -> AdapterPlan:
        self.check_bases()
        tensors = self.tensors()
        names = sorted({name: None for adapter in self.given for name in adapter.factors})
        modules = {name: self.module(name, tensors.get(name, f"{name}.weight")) for name in names}
        whole = {name: self.whole(name) for name in dict.fromkeys(n for a in self.given for n in a.whole)}
        sizes: dict[str, TensorInfo] = {}
        layout: list[OutTensor] = []
        units: list[MergeUnit] = []
        for module in modules.values():
            (rows, columns), sums = module.first.shape, factors.is_sum(module.method) or self.space == "factor"
            ends = factor_names(module.name, embedding=module.first.embedding)
            for end, shape in zip(ends, ((module.rank, columns), (rows, module.rank)), strict=True):
                layout.append(OutTensor(end, module.dtype, shape, ADAPTER_WEIGHTS))
                sizes[end] = _size(end, module.dtype if sums else "F64", shape if sums else (rows, columns))
            units.append(MergeUnit(module.name, ends, False))
        for name in whole:
            end, info = whole_name(name, modules), self.stored(name)
            layout.append(OutTensor(end, info.dtype, info.shape, ADAPTER_WEIGHTS))
            sizes[end] = _size(end, info.dtype, info.shape)
            units.append(MergeUnit(name, (end,), False))
        return AdapterPlan(
            adapters=self.adapters,
            base=self.base,
            modules=modules,
            whole=whole,
            space=self.space,
            layout=tuple(layout),
            units=tuple(units),
            sizes=sizes,
            config=document(self.given, {name: module.rank for name, module in modules.items()}),
            notes=tuple(self.notes),
        )

    def check_bases(self) -> None:
        """Refuse adapters that say they were trained on different bases, or whose updates are not such products."""
        first = self.given[0]
        dora = next((adapter for adapter in self.given if adapter.config.use_dora), None)
        if dora is not None:
            what, remedy = "DoRA rescales the whole weight, which no product of two factors does", "leave --as out"
            raise AdapterRefused(what, where=dora.path, remedy=f"{remedy}, so that models are merged")
        for adapter in self.given:
            if adapter.config.kind is not None:
                what = f"peft_type is {adapter.config.kind.name}, whose updates are not merged into another adapter"
                remedy = "leave --as out, so that models are merged"
                raise AdapterRefused(what, where=adapter.path, remedy=remedy)
            kinds = (factors.odd or (factors.bias and "with a bias") for factors in adapter.factors.values())
            odd = next(filter(None, kinds), None)
            if odd is not None or adapter.tokens:
                what = f"holds an update {odd}" if odd is not None else "holds single rows of tokens"
                remedy = "leave --as out, so that models are merged"
                raise AdapterRefused(
                    f"{what}, which is not merged into another adapter", where=adapter.path, remedy=remedy
                )
        for other in self.given[1:]:
            ours, theirs = (a.config.base.rstrip("/").rpartition("/")[2].lower() for a in (first, other))
            if ours and theirs and ours != theirs:
                raise BadAdapter(
                    f"trained on {clean(other.config.base)}, {first.name} on {clean(first.config.base)}; updates "
                    "of different bases do not add up",
                    where=other.path,
                    remedy="if the two are one model, give it one name in adapter_config.json",
                )
            if first.config.fan_in_fan_out != other.config.fan_in_fan_out:
                what = f"fan_in_fan_out is {other.config.fan_in_fan_out}, {first.name} has the opposite"
                raise BadAdapter(what, where=other.path, remedy="merge adapters of one base")

    def tensors(self) -> dict[str, str]:
        """Return module -> its tensor in the base, after checking every adapter against it."""
        if self.base is None:
            return {}
        places = [place(adapter, self.base, finder(self.base), ties_of(self.base)) for adapter in self.given]
        return {change.factors.module: name for found in places for name, change in found.items() if change.factors}

    def module(self, name: str, tensor: str) -> AdapterModule:
        method = self.checked(tensor)
        parts = tuple(adapter.factors.get(name) if adapter is not None else None for adapter in self.adapters)
        held = [(adapter, part) for adapter, part in zip(self.adapters, parts, strict=True) if adapter and part]
        first, ranks = held[0][1], [part.rank for _, part in held]
        for adapter, part in held[1:]:
            if part.shape != first.shape or part.embedding != first.embedding:
                raise ShapeMismatch(
                    f"an update of shape {part.shape}, {held[0][0].name} has {first.shape}",
                    where=f"{adapter.name}: {clean(name)}",
                    remedy="merge adapters of one base",
                )
        if self.space == "factor" and (len(held) < len(parts) or len(set(ranks)) > 1):
            raise BadMergeParameter(
                f"merging the factors A and B separately needs adapters of one rank; the ranks are {ranks}",
                where=f"lora_space factor, {clean(name)}",
                remedy="use lora_space product",
            )
        dtypes = [info.dtype for _, part in held for info in (part.a, part.b)]
        return AdapterModule(name, tensor, parts, method, self.result_rank(method, ranks, first.shape), _widest(dtypes))

    def result_rank(self, method: Merge, ranks: Sequence[int], shape: tuple[int, int]) -> int:
        """Return the rank of a module: a sum needs no more than the ranks together, and is exact with them."""
        if self.space == "factor":
            return ranks[0]
        if factors.is_sum(method):
            return sum(ranks) if self.rank is None or self.rank >= sum(ranks) else min(self.rank, *shape)
        return min(self.rank or sum(ranks), *shape)

    def checked(self, tensor: str) -> Merge:
        """Return the method of a tensor, after checking that it can be used here."""
        method = self.method_of(tensor)
        method.check_count(len(self.adapters))
        if method.name in NOT_ON_UPDATES:
            what = "compares whole weights, so it has no meaning on the updates of adapters"
            raise BadMergeParameter(what, where=method.name, remedy="merge into a model instead of an adapter")
        if self.space == "factor" and method.name not in FACTOR_METHODS:
            remedy = f"choose from {', '.join(FACTOR_METHODS)}, or use the product space"
            raise BadMergeParameter(
                "this method cannot merge the factors A and B separately", where=method.name, remedy=remedy
            )
        if self.space == "factor" and method.reads > 1:
            what = "factors have no model-wide cut"
            raise BadMergeParameter(what, where=f"{method.name}, scope", remedy="use lora_space product")
        if self.space == "factor" and self.rank is not None:
            raise BadMergeParameter(
                "keeps the rank of the inputs, so no other rank can be given",
                where="lora_space factor",
                remedy="give no rank",
            )
        if method.reads > 1:
            self.notes[f"{method.name}: the model that is cut at once is all modules that have adapters"] = None
        if not method.uses_base and not factors.is_sum(method):
            self.notes[f"{method.name} works on the updates of the adapters here, not on whole weights"] = None
        return method

    def stored(self, name: str) -> TensorInfo:
        if self.base is not None:
            return self.base.tensors[name]
        return next(adapter.whole[name] for adapter in self.given if name in adapter.whole)

    def whole(self, name: str) -> Merge:
        """Return the method of a tensor that adapters hold whole; what one of them lacks is the base's."""
        method = self.method_of(name)
        method.check_count(len(self.adapters))
        lacking = [a for a in self.adapters if a is None or name not in a.whole]
        if self.base is None and (lacking or method.uses_base):
            raise BadMergeParameter(
                "the adapters hold this tensor as a whole, and merging it needs the one of the base",
                where=clean(name),
                remedy="give --base",
            )
        shapes = [adapter.whole[name].shape for adapter in self.given if name in adapter.whole]
        if any(shape != shapes[0] for shape in shapes):
            raise ShapeMismatch(f"shapes {shapes}", where=clean(name), remedy="merge adapters of one base")
        return method


def _widest(dtypes: Sequence[str]) -> str:
    """Return a dtype that holds every value of all."""
    if len(dict.fromkeys(dtypes)) == 1:
        return dtypes[0]
    return "F64" if "F64" in dtypes else "F32"


def _size(name: str, dtype: str, shape: tuple[int, ...]) -> TensorInfo:
    n_bytes = OutTensor(name, dtype, shape, ADAPTER_WEIGHTS).nbytes
    return TensorInfo(name, dtype, shape, ADAPTER_WEIGHTS, 0, n_bytes)
