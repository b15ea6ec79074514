"""The tensors of an adapter sorted by what they do, from their names; what peft would not load is refused.

    base_model.model.X.lora_A.weight (r, in), X.lora_B.weight (out, r)     update s B A of the module X
    .. the same with kernels (r, in, k..), (out, r, 1..)                   of a convolution
    .. the same, where X.p is one of target_parameters                     of the parameter p, with E experts of rank r
    .. the same, beside X.base_layer.out_proj.lora_A                       of X.in_proj_weight, of torch's attention
    base_model.model.X.lora_B.bias (out,)                                  times s, of its bias
    base_model.model.X.lora_embedding_A (r, rows), X.lora_embedding_B      of an embedding, stored transposed
    base_model.model.X.token_adapter.trainable_tokens_delta (k, width)     rows in place of the base's
    base_model.model.X.base_layer.weight | .bias, or any name of the base  a whole tensor in place of the base's
    X.modules_to_save.weight, X.original_module.weight                     copies, beside the X.weight that is loaded
    base_model.model.X.<end>, of a kind that is no LoRA                    parts of one update of X, as the kind says

Source: the format of peft 0.21.2.  Differs: peft leaves out, with a warning or none, tensors that no target names and
fills in those that are missing; here both are refused, so that a merge never uses something else than peft would load.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mergebarrier.checkpoint.adapter.config import ADAPTER_WEIGHTS, AdapterConfig
from mergebarrier.checkpoint.adapter.keys import INSTEAD
from mergebarrier.checkpoint.adapter.kinds import Kind, Update
from mergebarrier.checkpoint.bytes import FLOATS, TensorInfo
from mergebarrier.checkpoint.read import GATHER, UNGATHERED
from mergebarrier.errors import AdapterRefused, BadAdapter, clean

#: What wrappers of training (torch.compile, FSDP, DDP) put into names.
_WRAPPERS = re.compile(r"^module\.|\b_(?:orig_mod|(?:fsdp|checkpoint)_wrapped_module)\.")
#: The name that an adapter has in memory, which a plain save of the state leaves in the names of factors.
_NAMED = re.compile(
    r"(\.lora_(?:embedding_[AB]|[AB]|magnitude_vector))\.(?!(?:weight|bias)$)(\w+)(?=(?:\.weight|\.bias)?$)"
)
ADAPTER_PREFIX = "base_model.model."
# End of a name -> (of an embedding, which factor).
_ENDS = {
    ".lora_A.weight": (False, "A"),
    ".lora_B.weight": (False, "B"),
    ".lora_B.bias": (False, "bias"),
    ".lora_embedding_A": (True, "A"),
    ".lora_embedding_B": (True, "B"),
    ".lora_magnitude_vector": (False, "m"),
    ".lora_magnitude_vector.weight": (False, "m"),
}
#: The second of two updates of a MultiheadAttention of torch, whose first is of its three inputs at once.
_OUT, _OUT_TIMES = ".base_layer.out_proj", 2  # peft adds it by hand and by the module's own merge, trained so too
_TOKENS, _SAVED = ".trainable_tokens_delta", ".modules_to_save."
# Where a tensor of the base stands inside of what peft wraps around its module.
_WRAPPED = (".token_adapter.base_layer.", ".base_layer.", ".ln_tuning_layers.", _SAVED)
_OTHER_KINDS = (
    "lora_", "hada_", "lokr_", "ia3_", "oft_", "vera_", "boft_", "token_adapter", "modules_to_save", "original_module",
)  # fmt: skip
_PEFT = "save the adapter again with peft"
#: Ends of modules that peft adapts along with the embedding that they are tied to, and takes out of target_modules.
_TIED = ("lm_head", "encoder.embed_tokens", "decoder.embed_tokens")


@dataclass(frozen=True)
class Factors:
    """One module's update s B A.

    Attributes:
      module:     its name in the base.
      a, b:       A (r, in) and B (out, r) on disk.
      scale:      s.
      embedding:  the base stores the transposed update.
      magnitude:  DoRA: the length m (out,) of every row of W_0 + s B A; None for plain LoRA.
      parameters: tensors of the base, one of which is updated; none where it is the weight of the module.
      bias:       times s, what the module's bias gets; None for nothing.
      experts:    how many updates A and B hold: A one below the other, B interleaved.
      others:     the same update taken for one of parameters of another rank or scale.
    """

    module: str
    a: TensorInfo
    b: TensorInfo
    scale: float
    embedding: bool
    magnitude: TensorInfo | None = None
    bias: TensorInfo | None = None
    parameters: tuple[str, ...] = ()
    experts: int = 1
    others: tuple["Factors", ...] = ()

    @property
    def rank(self) -> int:
        """Return r."""
        return self.a.shape[0] // self.experts

    @property
    def shape(self) -> tuple[int, int]:
        """Return (out, in) of B A, kernels flat."""
        return self.b.shape[0], math.prod(self.a.shape[1:])

    @property
    def odd(self) -> str:
        """Return what makes the update another thing than that of a module's matrix; "" for an ordinary one."""
        return "of a parameter" if self.parameters else "of a convolution" if len(self.a.shape) > 2 else ""


@dataclass(frozen=True)
class TrainedRows:
    """Rows in place of those of a module's weight: ``values[i]`` is row ``indices[i]``."""

    module: str
    values: TensorInfo
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Sorted:
    """What an adapter holds: factors, other updates and rows of tokens by module, whole tensors by their names."""

    factors: Mapping[str, Factors]
    whole: Mapping[str, TensorInfo]
    tokens: Mapping[str, TrainedRows]
    updates: Mapping[str, Update]


def sort_tensors(path: Path, config: AdapterConfig, tensors: Mapping[str, TensorInfo]) -> Sorted:
    """Return what the tensors are, each under its module or its name in the base.

    Raises: BadAdapter, AdapterRefused; each names the tensor.
    """
    return _Sorter(path / ADAPTER_WEIGHTS, config, tensors).sorted()


class _Sorter:
    def __init__(self, where: Path, config: AdapterConfig, tensors: Mapping[str, TensorInfo]) -> None:
        self.where, self.config, self.tensors, self.joined = where, config, tensors, set[str]()

    def fail(self, name: str, what: str, remedy: str = _PEFT) -> BadAdapter:
        return BadAdapter(what, where=f"{self.where}: tensor {clean(name)!r}", remedy=remedy)

    def refuse(self, name: str, what: str) -> AdapterRefused:
        return AdapterRefused(what, where=f"{self.where}: tensor {clean(name)!r}", remedy=INSTEAD)

    def sorted(self) -> Sorted:
        halves: dict[tuple[str, bool], dict[str, TensorInfo]] = {}
        whole: dict[str, TensorInfo] = {}
        tokens: dict[str, TrainedRows] = {}
        parts: dict[str, dict[str, TensorInfo]] = {}
        kind = self.config.kind
        for name, info in self.tensors.items():
            if not info.numel and not (kind is not None and len(info.shape) == 2):  # AdaLoRA may cut all of a module
                raise self.fail(name, f"the tensor is empty (shape {info.shape}), {UNGATHERED}", GATHER)
            if info.role == "counter" and self.config.saves(name):
                continue  # of the steps of a norm's training, which no answer depends on
            if info.dtype not in FLOATS:
                raise self.fail(name, f"a {info.dtype} tensor of shape {info.shape}; an adapter holds floats")
            plain = _WRAPPERS.sub("", name)
            if kind is not None and plain in kind.shared:
                continue
            if not plain.startswith(ADAPTER_PREFIX):
                raise self.fail(name, f"unknown name, not below {ADAPTER_PREFIX}")
            rest = _NAMED.sub(r"\1", plain.removeprefix(ADAPTER_PREFIX)).replace(_SAVED + "default.", _SAVED)
            module, _, last = rest.removesuffix(".default").rpartition(".")
            end = next((end for end in _ENDS if rest.endswith(end)), None) if kind is None else None
            if kind is not None and last in kind.ends:
                parts.setdefault(module, {})[last] = info
            elif end is not None:
                embedding, half = _ENDS[end]
                inner = rest.removesuffix(end)
                self.joined |= {inner.removesuffix(_OUT)} if inner.endswith(_OUT) else set()
                module = inner.replace(".base_layer.", ".")  # below one of which a parameter is wrapped
                if half in halves.setdefault((module, embedding), {}):
                    what = "the file holds two adapters, such as what was trained and a reference beside it"
                    raise self.fail(name, what, "save one of them alone: save_pretrained(selected_adapters)")
                halves[module, embedding][half] = info
            elif rest.endswith(_TOKENS):
                module = rest.removesuffix(_TOKENS).removesuffix(".token_adapter")
                tokens[module] = self.rows(module, info)
            elif not self.is_spare_copy(rest):
                self.add_whole(whole, rest, info)
        factors = self.all_factors(halves)
        updates = {} if kind is None else {module: self.update(kind, module, parts[module]) for module in sorted(parts)}
        if not factors and not whole and not tokens and not updates:
            raise BadAdapter(f"the adapter holds no tensor, {UNGATHERED}", where=self.where, remedy=GATHER)
        return Sorted(factors, whole, tokens, updates)

    def update(self, kind: Kind, module: str, parts: dict[str, TensorInfo]) -> Update:
        """Return the update of a module of a kind that is no LoRA."""
        stray = next(iter(parts.values()))
        self.check_target(module, stray)
        assert kind.make is not None
        try:
            shared = {name: self.tensors[name] for name in kind.shared if name in self.tensors}
            return kind.make(module, parts, shared, self.config)
        except ValueError as fault:
            raise self.fail(stray.name, str(fault)) from fault

    def all_factors(self, halves: Mapping[tuple[str, bool], dict[str, TensorInfo]]) -> dict[str, Factors]:
        merged: dict[tuple[str, bool], dict[str, TensorInfo]] = {}
        for (module, embedding), found in halves.items():
            # The magnitude of an embedding has the name of any other.
            embedding = embedding or ((module, True) in halves and set(found) == {"m"})
            merged.setdefault((module, embedding), {}).update(found)
        factors: dict[str, Factors] = {}
        for (module, embedding), found in sorted(merged.items()):
            if module in factors:
                raise self.fail(
                    factors[module].a.name,
                    "its module has factors of two kinds (lora_A/lora_B and lora_embedding_A/lora_embedding_B)",
                )
            factors[module] = self.factors(module, embedding, found)
        return factors

    def add_whole(self, whole: dict[str, TensorInfo], rest: str, info: TensorInfo) -> None:
        theirs = rest
        for part in _WRAPPED if self.config.saves(rest.replace(_SAVED, ".")) else _WRAPPED[:-1]:
            theirs = theirs.replace(part, ".")
        other = next((part for part in theirs.split(".") if part.startswith(_OTHER_KINDS)), None)
        if other is not None:
            raise self.refuse(info.name, f"{clean(other)} belongs to a kind of adapter that is not read")
        if theirs in whole:
            raise self.fail(info.name, "maps to the same tensor of the base as another one")
        whole[theirs] = info

    def is_spare_copy(self, rest: str) -> bool:
        """Say whether peft writes this beside the tensor that it loads: the base's own, or the same once more."""
        plain = rest.replace(_SAVED, ".").replace(".original_module.", ".")
        if plain == rest or not self.config.saves(plain):
            return False
        return ".original_module." in rest or ADAPTER_PREFIX + plain in self.tensors

    def rows(self, module: str, info: TensorInfo) -> TrainedRows:
        indices = self.config.token_indices(module)
        if len(info.shape) != 2 or info.shape[0] != len(indices) or len(set(indices)) < len(indices):
            what = f"shape {info.shape}, and trainable_token_indices gives {len(set(indices))} different tokens"
            raise self.fail(info.name, what)
        return TrainedRows(module, info, indices)

    def factors(self, module: str, embedding: bool, halves: dict[str, TensorInfo]) -> Factors:
        magnitude, bias = halves.pop("m", None), halves.pop("bias", None)
        if len(halves) != 2:
            stray = next(iter(halves.values()), magnitude or bias)
            raise self.fail(stray.name if stray else module, "its other factor is missing; a module has A and B")
        a, b = halves["A"], halves["B"]
        for half in (a, b):
            if len(half.shape) == 1:
                raise self.fail(half.name, f"shape {half.shape}: the tensor is flat, {UNGATHERED}", GATHER)
        if len(a.shape) != len(b.shape) or not 2 <= len(a.shape) <= 5 or any(size != 1 for size in b.shape[2:]):
            what = f"shape {a.shape}, and B has {b.shape}; that is neither a matrix's update nor a convolution's"
            raise self.fail(a.name, what, INSTEAD)
        if a.shape[0] != b.shape[1]:
            raise self.fail(a.name, f"A has rank {a.shape[0]} and B has rank {b.shape[1]}")
        parameters = self.config.parameters_of(module) if len(a.shape) == 2 and not embedding else ()
        if parameters and not self.config.targets(module):
            return self.of_parameter(module, a, b, parameters)
        named = next((above for above in self.joined if module == f"{above}.out_proj"), module)
        if a.shape[0] != self.config.rank(named):
            what = f"rank {a.shape[0]}, the configuration gives this module {self.config.rank(named)}"
            raise self.fail(a.name, what)
        if not (self.config.ensure_weight_tying and module.endswith(_TIED)):
            self.check_target(named, a)
        self.check_magnitude(magnitude, b)
        self.check_bias(bias, b)
        joined = (f"{module}.in_proj_weight",) if module in self.joined else ()
        scale = self.config.scale(named) * (1 if named == module else _OUT_TIMES)
        return Factors(module, a, b, scale, embedding, magnitude, bias, joined)

    def check_target(self, module: str, info: TensorInfo) -> None:
        """Refuse a tensor of a module that peft would put no adapter on."""
        if not self.config.targets(module):
            what = "its module is not among target_modules, so peft would leave it out"
            raise self.fail(info.name, what, "name the module there, or remove the tensor")

    def of_parameter(self, module: str, a: TensorInfo, b: TensorInfo, parameters: tuple[str, ...]) -> Factors:
        """Return the update of one of several parameters; which one, the shapes in the base tell."""
        alike: dict[tuple[int, float], list[str]] = {}
        for name in parameters:
            alike.setdefault((self.config.rank(name), self.config.scale(name)), []).append(name)
        found = [
            Factors(module, a, b, scale, False, None, None, tuple(names), a.shape[0] // rank)
            for (rank, scale), names in alike.items()
            if a.shape[0] % rank == 0
        ]
        if not found:
            ranks = " or ".join(str(rank) for rank, _ in alike)
            raise self.fail(a.name, f"rank {a.shape[0]} is no multiple of {ranks}, that of its parameter")
        return replace(found[0], others=tuple(found[1:]))

    def check_magnitude(self, magnitude: TensorInfo | None, b: TensorInfo) -> None:
        """Refuse a magnitude without ``use_dora``, the reverse, and one of another length."""
        if (magnitude is not None) != self.config.use_dora:
            what = "lacks its lora_magnitude_vector" if self.config.use_dora else "has a lora_magnitude_vector"
            raise self.fail((magnitude or b).name, f"its module {what}, and use_dora is {self.config.use_dora}")
        if magnitude is not None and magnitude.numel != b.shape[0]:
            raise self.fail(magnitude.name, f"shape {magnitude.shape}, B has {b.shape[0]} rows")

    def check_bias(self, bias: TensorInfo | None, b: TensorInfo) -> None:
        """Refuse a bias without ``lora_bias``, the reverse, and one of another length."""
        if (bias is not None) != self.config.lora_bias:
            what = "lacks its lora_B.bias" if self.config.lora_bias else "has a lora_B.bias"
            raise self.fail((bias or b).name, f"its module {what}, and lora_bias is {self.config.lora_bias}")
        if bias is not None and bias.shape != b.shape[:1]:
            raise self.fail(bias.name, f"shape {bias.shape}, B has {b.shape[0]} rows")
