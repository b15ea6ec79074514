"""``adapter_config.json`` of peft as data: an allow-list of keys with types, and what they say about every module.

    s(m) = alpha(m) / r(m),  alpha(m) / sqrt(r(m)) with use_rslora;   r(m), alpha(m): the first key of rank_pattern,
    alpha_pattern that ends the module's name, else r, lora_alpha (alpha in LoHa and LoKr)

Source: peft 0.21.2, LoRA (arXiv 2106.09685), rsLoRA (arXiv 2312.03732).  Differs: as ``keys`` says.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from mergebarrier.checkpoint.adapter.keys import REPAIR, check_keys
from mergebarrier.checkpoint.adapter.kinds import KINDS, Kind
from mergebarrier.checkpoint.adapter.patterns import Pattern, first_ending, layer_of
from mergebarrier.checkpoint.read import read_json, refuse_code
from mergebarrier.errors import BadAdapter, clean

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
MAX_RANK = 65_536
MAX_PATTERNS = 4096
ALL_LINEAR = "all-linear"


@dataclass(frozen=True)
class AdapterConfig:
    """What the configuration of an adapter says.

    Attributes:
      document:        the whole table, not to be changed.
      kind:            None for LoRA, of which the rest speaks too.
      r, alpha:        rank and lora_alpha of a module that no pattern names.
      use_rslora:      scale by alpha / sqrt(r).
      lora_bias:       B has a bias, which the module's own bias gets, scaled.
      use_dora:        every output row of the sum is brought to a length of its own.
      fan_in_fan_out:  the weights of the base are stored (in, out).
      modules_to_save: names of modules that are stored whole.
      bias:            "none", "all" or "lora_only", or as the kind calls that.
      base, revision, task_type: names, "" for none.
      ensure_weight_tying: what is tied to an adapted embedding is adapted too, and no target.
      target_parameters: ends of names of tensors that are adapted although no module's weight.
      tokens:          end of a module's name, "" for the embedding -> rows that are trained alone.
    """

    document: Mapping[str, object]
    kind: Kind | None
    r: int
    alpha: float
    use_rslora: bool
    lora_bias: bool
    use_dora: bool
    fan_in_fan_out: bool
    modules_to_save: tuple[str, ...]
    bias: str
    base: str
    revision: str
    task_type: str
    ranks: tuple[tuple[Pattern, int], ...]
    alphas: tuple[tuple[Pattern, float], ...]
    targets: Callable[[str], bool]
    ensure_weight_tying: bool
    target_parameters: tuple[str, ...]
    tokens: Mapping[str, tuple[int, ...]]

    def parameters_of(self, module: str) -> tuple[str, ...]:
        """Return the parameters of a module that are adapted, in full; peft nests what it wraps around them."""
        module = module.replace(".base_layer", "")
        found = []
        for target in self.target_parameters:
            owner, _, name = target.rpartition(".")
            if not owner or module == owner or module.endswith("." + owner):
                found.append(f"{module}.{name}")
        return tuple(found)

    def token_indices(self, module: str) -> tuple[int, ...]:
        """Return which rows of a module are trained alone; a plain list of them is for the embedding."""
        names = [name for name in self.tokens if f".{module}".endswith(f".{name}")] if self.tokens else []
        return self.tokens[names[0]] if names else self.tokens.get("", ())

    def rank(self, module: str) -> int:
        """Return r of a module."""
        found = first_ending([pattern for pattern, _ in self.ranks], module)
        return self.r if found is None else self.ranks[found][1]

    def saves(self, tensor: str) -> bool:
        """Say whether a module that is stored whole holds a tensor; peft asks for the end of its name alone."""
        return any(f"{name}." in tensor for name in self.modules_to_save)

    def scale(self, module: str) -> float:
        """Return s of a module."""
        found = first_ending([pattern for pattern, _ in self.alphas], module)
        alpha = self.alpha if found is None else self.alphas[found][1]
        return alpha / (math.sqrt(self.rank(module)) if self.use_rslora else self.rank(module))


def read_adapter_config(root: Path) -> AdapterConfig:
    """Read and check the configuration of an adapter folder.

    Args:
      root: resolved folder.
    Raises: BadAdapter (a missing, unknown or ill-typed key), AdapterRefused (a variant that is not read, by its name),
            BadConfig, LimitExceeded, RemoteCodeRefused.
    """
    document = read_json(root, ADAPTER_CONFIG)
    return _Reader(document if isinstance(document, dict) else {}, root / ADAPTER_CONFIG).config()


class _Reader:
    def __init__(self, document: dict[str, Any], where: Path) -> None:
        self.document, self.where = document, where

    def fail(self, what: str, remedy: str = REPAIR) -> NoReturn:
        raise BadAdapter(what, where=self.where, remedy=remedy)

    def config(self) -> AdapterConfig:
        refuse_code(self.document, self.where)
        check_keys(self.document, self.where)
        kind = KINDS.get(self.document["peft_type"])
        alpha = "alpha" if "alpha" in (kind.keys if kind else ()) else "lora_alpha"
        patterned = kind is None or "alpha_pattern" in kind.keys  # AdaLoRA's rank_pattern is another thing
        return AdapterConfig(
            document=self.document,
            kind=kind,
            r=self.rank("r", self.document.get("r", 8)),
            alpha=self.alpha(alpha, self.document.get(alpha, 8)),
            use_rslora=self.flag("use_rslora"),
            lora_bias=self.flag("lora_bias"),
            use_dora=self.flag("use_dora"),
            fan_in_fan_out=self.flag("fan_in_fan_out"),
            modules_to_save=self.names("modules_to_save"),
            bias=self.bias(),
            base=self.text("base_model_name_or_path"),
            revision=self.text("revision"),
            task_type=self.text("task_type"),
            ranks=self.patterns("rank_pattern", self.rank) if patterned else (),
            alphas=self.patterns("alpha_pattern", self.alpha) if patterned else (),
            targets=self.targets(),
            ensure_weight_tying=self.flag("ensure_weight_tying"),
            target_parameters=self.names("target_parameters"),
            tokens=self.tokens(),
        )

    def rank(self, key: str, value: object) -> int:
        if type(value) is not int or not 1 <= value <= MAX_RANK:
            self.fail(f"{clean(key)} is {clean(repr(value))}; a rank is a whole number from 1 to {MAX_RANK}")
        return value

    def alpha(self, key: str, value: Any) -> float:
        if type(value) not in (int, float) or not abs(value) <= 1e9:
            self.fail(f"{clean(key)} is {clean(repr(value))}; give a number")
        return float(value)

    def flag(self, key: str) -> bool:
        value = self.document.get(key)
        if value is not None and type(value) is not bool:
            self.fail(f"{key} is {clean(repr(value))}; give true or false")
        return bool(value)

    def names(self, key: str) -> tuple[str, ...]:
        value = self.document.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
            self.fail(f"{key} is {clean(repr(value))}; give a list of names")
        return tuple(value)

    def tokens(self) -> dict[str, tuple[int, ...]]:
        value = self.document.get("trainable_token_indices") or self.document.get("token_indices") or {}
        table = {"": value} if isinstance(value, list) else value
        rows = list(table.values()) if isinstance(table, dict) else [None]
        if not all(isinstance(row, list) and all(type(n) is int and 0 <= n < 2**31 for n in row) for row in rows):
            self.fail(f"trainable_token_indices is {clean(repr(value))}; give a list of token ids, or one per module")
        return {name: tuple(row) for name, row in table.items()}

    def bias(self) -> str:
        value = self.document.get("bias", "none")
        if value not in ("none", "all", "lora_only", "vera_only"):
            self.fail(f"bias is {clean(repr(value))}; it is none, all or lora_only")
        return str(value)

    def text(self, key: str) -> str:
        value = self.document.get(key)
        if value is not None and not isinstance(value, str):
            self.fail(f"{key} is {clean(repr(value))}; give a name")
        return value or ""

    def pattern(self, key: str, text: object) -> Pattern:
        try:
            return Pattern(text if isinstance(text, str) else "")
        except ValueError as fault:
            self.fail(f"{key}: the pattern {clean(repr(text))} is not read: {fault}", "write the names out")

    def patterns(self, key: str, check: Callable[[str, Any], Any]) -> tuple[tuple[Pattern, Any], ...]:
        table = self.document.get(key)
        if table is None:
            return ()
        if not isinstance(table, dict) or len(table) > MAX_PATTERNS:
            self.fail(f"{key} is not a table of at most {MAX_PATTERNS} names")
        return tuple((self.pattern(key, text), check(f"{key} of {text}", value)) for text, value in table.items())

    def chosen(self, key: str) -> Callable[[str], bool]:
        """Return the test of ``target_modules`` or ``exclude_modules``: a pattern of the whole name, or its ends."""
        value = self.document.get(key)
        if isinstance(value, str):
            return self.pattern(key, value).is_all_of
        names = self.names(key)
        return lambda module: any(module == name or module.endswith("." + name) for name in names)

    def targets(self) -> Callable[[str], bool]:
        """Return which modules peft would put an adapter on."""
        wanted = self.document.get("target_modules")
        if wanted is None and self.document.get("target_parameters"):
            return lambda _: False
        if wanted is None:
            self.fail("target_modules is missing", "name the modules that the adapter is for")
        everything = isinstance(wanted, str) and wanted.lower() == ALL_LINEAR
        included, excluded = (lambda _: True) if everything else self.chosen("target_modules"), self.excluded()
        layers, stacks, saved = self.layers(), self.stacks(), self.names("modules_to_save")

        def targeted(module: str) -> bool:
            kept_whole = any(f".{name}." in f".{module}." for name in saved)
            here = not layers or module in wanted or layer_of(module, stacks) in layers
            return included(module) and not excluded(module) and not kept_whole and here

        return targeted

    def excluded(self) -> Callable[[str], bool]:
        return self.chosen("exclude_modules") if self.document.get("exclude_modules") else lambda _: False

    def layers(self) -> tuple[int, ...]:
        value = self.document.get("layers_to_transform")
        found = value if isinstance(value, list) else [] if value is None else [value]
        if not all(type(layer) is int for layer in found):
            self.fail(f"layers_to_transform is {clean(repr(value))}; give whole numbers")
        return tuple(found) if isinstance(self.document["target_modules"], list) else ()

    def stacks(self) -> tuple[str, ...]:
        value = self.document.get("layers_pattern")
        return (value,) if isinstance(value, str) and value else self.names("layers_pattern") if value else ()
