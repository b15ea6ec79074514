"""Where an adapter meets its base: for every tensor of it, the tensor of the base that it changes, and how.

    X.lora_A, X.lora_B -> X.weight, as stored (out, in) or (in, out);   of target_parameters -> the one that they fit
    lm_head.* of a base with a tied head -> the embedding, if both get the same;   else a head of its own, on request
    embedding and head with other rows than the base's -> both, or none

Source: what peft 0.21.2 loads.  Differs: peft merges an embedding that is adapted apart from its tied head into both,
which answers other than what was trained; here that is refused, or untied.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import NoReturn, TypeAlias

from mergebarrier.checkpoint.adapter.adapter import Adapter
from mergebarrier.checkpoint.adapter.change import WeightChange
from mergebarrier.checkpoint.adapter.contents import Factors
from mergebarrier.checkpoint.adapter.first import RESIZED, first_as_class
from mergebarrier.checkpoint.adapter.kinds import Update
from mergebarrier.checkpoint.adapter.layouts import fits, orientations, stored, stored_in_out
from mergebarrier.checkpoint.adapter.tied import settle_head
from mergebarrier.checkpoint.bytes import FLOATS, TensorInfo
from mergebarrier.checkpoint.read import Checkpoint
from mergebarrier.errors import BadAdapter, clean

HEAD_NAME = "lm_head.weight"
#: From the name of a tensor to that of the same tensor in a base.
Finder: TypeAlias = Callable[[str], str | None]
#: What a base ties and does not store -> the tensor that it is.
Ties: TypeAlias = Mapping[str, str]
_ANOTHER = "give the base that it was trained on"
#: Ends of classes that have no head over the vocabulary, whatever their configuration says of a tie.
_HEADLESS = re.compile(
    r"For(SequenceClassification|TokenClassification|QuestionAnswering|MultipleChoice)$|(?<!LMHead)(?<!MT)Model$"
)
_OUT = "out_proj.weight"
_LAYER = re.compile(r"\.\d+\.")
#: What classes of T5's kind tie, whatever their configuration says.
_SHARED = re.compile(r"\b(encoder|decoder)\.embed_tokens\.")


def place(
    adapter: Adapter, base: Checkpoint, find: Finder | None = None, ties: Ties | None = None, *, untie: bool = False
) -> dict[str, WeightChange]:
    """Return what the adapter does to the tensors of a base, in the base's order; ``find`` knows other spellings.

    ``ties`` says what follows another tensor of the base and is not stored, the head first: None for what the
    configuration says.
    Raises: BadAdapter when a target is not there, has another shape, or is tied to a tensor that is not adapted.
    """
    return _Placement(adapter, base, find, ties).changes(untie=untie)


def tied_head(base: Checkpoint, name: str = HEAD_NAME, *, tied: bool | None = None) -> str:
    """Return the name of a head that a base does not store because it is the embedding; "" for none."""
    named = base.config.get("architectures")
    headless = isinstance(named, list) and all(_HEADLESS.search(str(one)) for one in named)
    said = base.config.get("tie_word_embeddings") is True if tied is None else tied
    return name if said and not headless and name not in base.tensors else ""


def unlike_live(changes: Mapping[str, WeightChange], base: Checkpoint) -> Iterator[tuple[str, str]]:
    """Yield the tensors whose update peft's live model uses otherwise than its merge, each with what it does."""
    for name, change in changes.items():
        joined = name.removesuffix(_OUT) + "in_proj_weight"
        if change.factors is None:
            continue
        if name.endswith("embed_positions.weight"):
            yield name, "looks it up by what the module is handed, which are no positions"
        elif name.endswith(_OUT) and joined in base.tensors and joined not in changes:
            yield name, "passes by that module of torch's attention, which adapters reach by the name above it"


class _Placement:
    def __init__(self, adapter: Adapter, base: Checkpoint, find: Finder | None, ties: Ties | None) -> None:
        self.adapter, self.base, self.find = adapter, base, find
        if ties is None:
            ties = dict(zip(filter(None, [tied_head(base)]), self.vocabulary(), strict=False))
        self.ties, self.head = ties, next(iter(ties), "")
        self.found: dict[str, WeightChange] = {}
        self.meant: dict[str, Factors] = {}

    def refuse(self, tensor: str, what: str, remedy: str = _ANOTHER) -> NoReturn:
        raise BadAdapter(what, where=f"{self.adapter.path}: tensor {clean(tensor)!r}", remedy=remedy)

    def changes(self, *, untie: bool) -> dict[str, WeightChange]:
        for theirs, info in self.adapter.whole.items():
            name = self.name(theirs, info.name)
            self.found[name] = WeightChange(self.source(name), info)
            self.check_whole(name, info)
        self.add_factors()
        self.add_updates()
        for rows in self.adapter.tokens.values():
            name = self.name(rows.module + ".weight", rows.values.name)
            before = self.found.get(name, WeightChange(self.source(name)))
            if before.added:
                self.refuse(rows.values.name, f"{clean(name)} is updated twice", "keep one of them")
            shape = (before.whole or self.base.tensors[before.source]).shape
            if shape[1:] != rows.values.shape[1:] or max(rows.indices) >= shape[0]:
                what = f"{len(rows.indices)} rows up to {max(rows.indices)} of width {rows.values.shape[1]}"
                remedy = RESIZED if shape[1:] == rows.values.shape[1:] else _ANOTHER
                self.refuse(rows.values.name, f"{what}; {clean(name)} has shape {shape}", remedy)
            self.found[name] = WeightChange(before.source, before.whole, tokens=rows)
        settle_head(self.adapter, self.base, self.ties, self.found, untie=untie)
        self.check_rows()
        order = [*self.base.tensors, *(name for name in self.found if name not in self.base.tensors)]
        return {name: self.found[name] for name in order if name in self.found}

    def name(self, name: str, tensor: str) -> str:
        """Return the base's name of a tensor; a base saved without its head may lack the first part of it."""
        found = self.lookup(name)
        found = found or next((tied for tied in self.ties if f".{tied}".endswith(f".{name}")), None)
        shared = self.lookup(_SHARED.sub("shared.", name)) if _SHARED.search(name) else None
        if found is None and shared is not None:
            what = f"encoder and decoder share {clean(shared)} in the base {self.base.name}, and one was trained apart"
            self.refuse(tensor, f"{what}, which its class could not load", "train an adapter without the embeddings")
        if found is None:
            self.refuse(tensor, f"the base {self.base.name} has no {clean(name)}", self.of_head(name))
        return found

    def of_head(self, name: str) -> str:
        """Return the way out where a tensor is not in the base, or of other labels."""
        return first_as_class(self.adapter, name) if name in self.adapter.whole else _ANOTHER

    def lookup(self, name: str) -> str | None:
        short = name.partition(".")[2]
        bare = not any(theirs.startswith(name[: len(name) - len(short)]) for theirs in self.base.tensors)
        found = (name, *([short] if bare else []), *([self.find(name)] if self.find is not None else []))
        return next((one for one in found if one is not None and one in self.base.tensors), None)

    def source(self, name: str) -> str:
        """Return the tensor of the base that a tensor starts from: itself, or the one that it is tied to."""
        return name if name in self.base.tensors else self.ties[name]

    def vocabulary(self) -> list[str]:
        """Return the tensors of the base with a row per token, outside of the layers."""
        tables = (self.base.config, *(one for one in self.base.config.values() if isinstance(one, dict)))
        sizes = {table["vocab_size"] for table in tables if "vocab_size" in table}
        infos = self.base.tensors.items()
        return [n for n, info in infos if len(info.shape) == 2 and info.rows in sizes and not _LAYER.search(n)]

    def check_whole(self, name: str, info: TensorInfo) -> None:
        theirs = self.base.tensors[self.found[name].source]
        resized = theirs.name in self.vocabulary() and theirs.shape[1:] == info.shape[1:]
        if (theirs.shape != info.shape and not resized) or theirs.dtype not in FLOATS:
            what = f"{clean(theirs.name)} of the base {self.base.name} is {theirs.dtype} {theirs.shape}"
            labels = theirs.shape[1:] == info.shape[1:]
            self.refuse(info.name, f"shape {info.shape}, {what}", self.of_head(theirs.name) if labels else _ANOTHER)

    def add_factors(self) -> None:
        modules = self.adapter.factors
        layouts = {module: self.layout(factors) for module, factors in modules.items() if not factors.parameters}
        layouts |= self.parameters([factors for factors in modules.values() if factors.parameters])
        swapped = [module for module, (_, _, sure) in layouts.items() if sure is False]
        for module, (name, transposed, sure) in layouts.items():
            factors = self.meant.get(module, modules[module])
            if sure is None and swapped and not factors.embedding and not factors.odd:
                self.refuse(
                    factors.a.name,
                    f"fan_in_fan_out is {self.adapter.config.fan_in_fan_out}, which is wrong for {clean(swapped[0])}, "
                    "and the square matrix here leaves open what is right",
                    "correct fan_in_fan_out in adapter_config.json",
                )
            before = self.found.get(name, WeightChange(self.source(name)))
            if before.added:
                self.refuse(factors.a.name, f"{clean(name)} is updated twice", "keep one of them")
            self.found[name] = WeightChange(before.source, before.whole, factors, transposed)
            if factors.bias is not None:
                self.add_bias(factors, factors.bias)

    def add_updates(self) -> None:
        """Add the updates of a kind that is no LoRA, each as its weight is stored, and completed by the base."""
        kind, names, layouts = self.adapter.config.kind, list[str](), list[tuple[Update, tuple[int, ...], bool]]()
        for update in self.adapter.updates.values():
            names.append(self.name(update.module + ".weight", update.first.name))
            before = self.found.get(names[-1], WeightChange(self.source(names[-1])))
            info = before.whole or self.base.tensors[before.source]
            turned = stored(update, info.shape, self.base.config, flag=self.adapter.config.fan_in_fan_out)
            if turned is None or info.dtype not in FLOATS:
                sizes = ", ".join(f"{end} {part.shape}" for end, part in update.parts.items())
                what = f"its update has {sizes}; {clean(names[-1])} of the base {self.base.name} has {info.shape}"
                self.refuse(update.first.name, what)
            layouts.append((update, info.shape[::-1] if turned else info.shape, turned))
        try:
            settled = kind.settled([(update, shape) for update, shape, _ in layouts]) if kind and layouts else []
        except ValueError as fault:
            self.refuse(layouts[0][0].first.name, str(fault))
        for name, update, (_, _, turned) in zip(names, settled, layouts, strict=True):
            before = self.found.get(name, WeightChange(self.source(name)))
            if before.added:
                self.refuse(update.first.name, f"{clean(name)} is updated twice", "keep one of them")
            self.found[name] = replace(before, update=update, transposed=turned)
            bias = self.lookup(update.module + ".bias") if update.biased else None
            if bias is not None:
                self.found[bias] = replace(self.found.get(bias, WeightChange(bias)), update=update)

    def add_bias(self, factors: Factors, bias: TensorInfo) -> None:
        name = self.lookup(factors.module + ".bias")
        if name is None:
            what = f"the base {self.base.name} has no {clean(factors.module)}.bias that could hold this one"
            self.refuse(bias.name, what)
        before = self.found.get(name, WeightChange(name))
        theirs = before.whole or self.base.tensors[name]
        if theirs.shape != bias.shape or theirs.dtype not in FLOATS:
            self.refuse(bias.name, f"shape {bias.shape}, {clean(name)} of the base is {theirs.dtype} {theirs.shape}")
        self.found[name] = replace(before, biased=factors)

    def layout(self, factors: Factors) -> tuple[str, bool, bool | None]:
        """Return the tensor of a module, whether it is stored transposed, and whether the configuration says so.

        The last is None where the matrix is square and the shape cannot tell.
        """
        name = self.name(factors.module + ".weight", factors.a.name)
        before = self.found.get(name, WeightChange(self.source(name)))
        info = before.whole or self.base.tensors[before.source]
        shape, plain = info.shape, factors.shape
        if factors.odd:
            if shape != (factors.b.shape[0], *factors.a.shape[1:]):
                self.refuse(factors.a.name, f"a convolution's update; {clean(name)} has shape {shape}, not its own")
            return name, False, None
        if info.dtype not in FLOATS or shape not in (plain, plain[::-1]):
            what = f"its update has shape {plain}, {clean(name)} of the base {self.base.name} has {shape}"
            self.refuse(factors.a.name, what)
        if factors.embedding:
            if shape != plain[::-1]:
                self.refuse(factors.a.name, f"{clean(name)} is not an embedding of its shape", "check the base")
            return name, True, None
        flag = self.adapter.config.fan_in_fan_out
        if plain[0] == plain[1]:
            known = stored_in_out(self.base.config, factors.module)
            return name, flag if known is None else known, None if known is None else True
        return name, shape != plain, (shape != plain) == flag

    def parameters(self, updates: list[Factors]) -> dict[str, tuple[str, bool, bool | None]]:
        """Return the layouts of updates of parameters: the only tensors that they fit, each for one of them."""
        held, fitting = self.base.tensors, dict[str, list[tuple[str, Factors]]]()
        for one in updates:
            named = [(self.lookup(name), way) for way in (one, *one.others) for name in way.parameters]
            fitting[one.module] = [(name, way) for name, way in named if name and fits(way, held[name].shape)]
        chosen: dict[str, str] = {}
        open_ones = list(updates)
        while open_ones:
            one = min(open_ones, key=lambda one: len(fitting[one.module]))
            names = [name for name, _ in fitting[one.module]]
            if len(names) != 1:
                if not names:
                    self.name(one.parameters[0], one.a.name)
                what = f"fits {clean(' and '.join(names))} alike" if names else "fits no parameter of its module"
                self.refuse(one.a.name, what, _ANOTHER if not names else "merge the adapter with peft")
            chosen[one.module], self.meant[one.module] = fitting[one.module][0]
            open_ones.remove(one)
            for other in open_ones:
                fitting[other.module] = [pair for pair in fitting[other.module] if pair[0] != names[0]]
        shapes = [held[chosen[one.module]].shape for one in updates]
        version = self.adapter.config.document.get("peft_version")
        layouts = dict[str, tuple[str, bool, bool | None]]()
        for one, turned in zip(updates, orientations(updates, shapes, self.base.config, version), strict=True):
            if turned is None:
                what = "its matrices are square, and how they are stored depends on the peft that trained it"
                self.refuse(one.a.name, what, "add its version as peft_version to adapter_config.json")
            layouts[one.module] = chosen[one.module], turned, None
        return layouts

    def check_rows(self) -> None:
        """Refuse another vocabulary for one of embedding and head alone."""
        whole: Mapping[str, TensorInfo] = {name: c.whole for name, c in self.found.items() if c.whole is not None}
        rows = {
            name: info.rows
            for name, info in whole.items()
            if name in self.vocabulary() or name == (self.head or HEAD_NAME)
        }
        counts = {name: rows.get(name, self.base.tensors[name].rows) for name in self.vocabulary()} | rows
        if len(set(counts.values())) > 1:
            said = ", ".join(f"{clean(name)} has {count}" for name, count in counts.items())
            self.refuse(next(iter(whole.values())).name, f"the vocabulary has several sizes: {said} rows", _ANOTHER)
