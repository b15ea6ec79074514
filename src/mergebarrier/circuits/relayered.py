"""A configuration for layers in another order: what laws and lists say of each is said again where it comes to stand.

    a list per layer follows its layers  |  a number stays, or becomes another that gives every layer its value
    else a list per layer, where the model's class reads one  |  else refused by the name of the key

Source: ours.  Differs from counting layers anew, after which a rhythm of the class would meet other weights.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

from mergebarrier.circuits.laws import LAWS, SPOKEN, Law
from mergebarrier.circuits.places import LAST_FULL, UNSAID, Table
from mergebarrier.errors import ConfigMismatch, clean

_PER_LAYER = re.compile(
    r"layer|block|pattern|attention|attn|heads|types|experts|ffn|intermediate|rope|topk|ratio|(?<!time_step_)limit"
)
_MAY_NAME = re.compile(r"layer|block|pattern|attention|attn")
_MAY_SPEAK = re.compile(r"^(?!rescale)(\w+_)?(every|interval|period|offset|freq|frequency|pattern)(_|$)|^first_")
_PERIOD = re.compile(r"every|interval|period|freq|step|pattern")
_COUNTS = re.compile(r"layers?(_|$)|depth|blocks?(_|$)|stages?(_|$)")
_NUMBERS = re.compile(r"layer|pruned_heads")
_NUMBERED = re.compile(r"0|[1-9]\d{0,5}")
_MOST = 256
#: A number of a law that may be a list per layer as well.
_LIST_TOO = "moe_layer_freq"
_KEEP = "let layers of that kind stay where they are, or merge whole models"


@dataclass(frozen=True, kw_only=True)
class LayerOrigin:
    """The layer that one of the output comes from: configuration of its model, the layers there, its number."""

    config: Table
    n_layers: int
    layer: int


def with_layers(
    config: Table,
    n_before: int,
    origins: Sequence[LayerOrigin],
    *,
    stack: str = "",
    counts: Sequence[str] = (),
    where: object = "config.json",
) -> tuple[dict[str, object], list[str]]:
    """Rewrite a configuration for other layers.

    Args:
      config:   of the donor.
      n_before: its layers.
      origins:  of the layers of the output.
      stack:    name of the layers in the names of tensors.
      counts:   keys of the number of layers.
      where:    the configuration, for messages.
    Returns: (configuration, notes about keys that may name layers and were left as they are).
    Raises:  ConfigMismatch naming a key that cannot say what layers the output has.
    """
    changed = {**config, **dict.fromkeys(counts, len(origins))}
    notes: list[str] = []
    same = all((one.config, one.layer) == (config, place) for place, one in enumerate(origins))
    if same and len(origins) == n_before:
        return changed, notes
    for one in origins:
        _check_said(one, where)
    laws = [law for law in LAWS if law.holds_for(config, stack)]
    listed = {law.listed for law in laws}
    for key, value in config.items():
        if key in counts or key in listed or (key in SPOKEN and key != _LIST_TOO):
            continue
        again = _follow(key, value, n_before, origins)
        if again is not None:
            changed[key] = again
        elif _may_name_layers(key, value) and len(origins) != n_before:
            notes.append(f"config.json: {clean(key)} may name layers and was left as it is")
    for law in laws:
        wanted = [law.of(one.config, one.layer, one.n_layers) for one in origins]
        ours = config.get(law.listed) if law.listed is not None else None
        if isinstance(ours, list) and None in wanted:  # no rule, and no list of the right length
            if len(ours) != n_before:
                what = f"is for {len(ours)} layers, the model has {n_before}"
                notes.append(f"config.json: {law.listed} {what}: left as it is")
                continue
            known = zip(wanted, origins, strict=True)
            wanted = [ours[min(one.layer, n_before - 1)] if value is None else value for value, one in known]
        again = _said_again(law, changed, wanted, where)
        if law.listed in again and law.listed not in config:
            said = next((key for key in law.keys if key in config), "the class")
            notes.append(f"config.json: {law.listed} says per layer what {said} said; an old loader may not read it")
        changed |= again
    lists = [key for key, value in changed.items() if isinstance(value, list) and len(value) == len(origins)]
    if not counts and len(origins) != n_before and all(changed[key] is config.get(key) for key in lists):
        other = next((key for key, value in config.items() if _may_count(key, value, n_before)), None)
        if other is not None:
            what = f"{clean(other)} may count the layers, and is no key that is known to, so it would stay as it is"
            raise ConfigMismatch(what, where=where, remedy="keep the number of layers, or merge whole models")
        what = (
            f"no key counts the layers, so a loader would make those that its class has by default, not {len(origins)}"
        )
        remedy = f"add the key that its class counts them by, such as num_hidden_layers: {n_before}, to the donor's"
        raise ConfigMismatch(what, where=where, remedy=remedy)
    last = changed.get("layer_types")
    if str(config.get("model_type")) in LAST_FULL and isinstance(last, list) and last[-1] != "full_attention":
        what = "layer_types: the class makes the last layer one of full attention, and the output ends with another"
        raise ConfigMismatch(what, where=where, remedy="end with a layer of full attention")
    return changed, notes


def _check_said(origin: LayerOrigin, where: object) -> None:
    """Refuse a configuration whose class would make a list per layer anew, by rules that are not known here."""
    kind = str(origin.config.get("model_type"))
    for key in UNSAID.get(kind, ()):
        said = origin.config.get(key)
        if not isinstance(said, list) or len(said) != origin.n_layers:
            what = f"{key} is not said layer by layer, and the class of {kind} makes it by the places of layers"
            remedy = "let transformers write it out: AutoConfig.from_pretrained(DIR).save_pretrained(DIR)"
            raise ConfigMismatch(what, where=where, remedy=remedy)


def _follow(key: str, value: object, n_before: int, origins: Sequence[LayerOrigin]) -> object | None:
    """Return a list per layer, or a table of layers by number, for the layers of the output; None for other values."""
    if isinstance(value, Mapping) and _NUMBERS.search(key) and all(map(_NUMBERED.fullmatch, value)):
        tables = [(one.config.get(key), str(one.layer)) for one in origins]
        return {str(n): t[at] for n, (t, at) in enumerate(tables) if isinstance(t, Mapping) and at in t}
    if not isinstance(value, list) or len(value) != n_before or not _PER_LAYER.search(key):
        return None
    found = []
    for one in origins:
        theirs = one.config.get(key)
        ours = theirs if isinstance(theirs, list) and len(theirs) == one.n_layers else value
        found.append(ours[min(one.layer, len(ours) - 1)])
    return found


def _may_name_layers(key: str, value: object) -> bool:
    if isinstance(value, dict):
        return bool(value) and "layer" in key
    if isinstance(value, list):
        return len(value) > 1 and _MAY_NAME.search(key) is not None
    return type(value) is int and value > 1 and _MAY_SPEAK.search(key) is not None


def _may_count(key: str, value: object, n_layers: int) -> bool:
    per_stage = isinstance(value, list) and key == "depths"
    return per_stage or (type(value) is int and value == n_layers and _COUNTS.search(key) is not None)


def _said_again(law: Law, config: Table, wanted: Sequence[object], where: object) -> dict[str, object]:
    """Return the keys of a configuration that must change for every layer to have a wanted value."""
    n_layers = len(wanted)

    def holds(one: Table) -> bool:
        return all(law.of(one, layer, n_layers) == value for layer, value in enumerate(wanted))

    if law.listed is not None and isinstance(config.get(law.listed), list):
        return {law.listed: list(wanted)}
    if holds(config):
        return {}
    for other in _other_numbers(law, config, n_layers):
        if holds({**config, **other}):
            return other
    said = law.said(config, wanted)
    if said is not None and holds({**config, **said}):
        return said
    present = [key for key in law.keys if key in config] or [law.keys[0]]
    odd = next(layer for layer, value in enumerate(wanted) if law.of(config, layer, n_layers) != value)
    what = (
        f"{clean(' and '.join(present))} cannot say what layers the output has: layer {odd} would be "
        f"{clean(law.of(config, odd, n_layers))}, and its weights are of one that is {clean(wanted[odd])}"
    )
    raise ConfigMismatch(what, where=where, remedy=_KEEP)


def _other_numbers(law: Law, config: Table, n_layers: int) -> Iterator[dict[str, object]]:
    """Yield other numbers for one key of a law, then for two."""
    spans = {
        key: range(int(_PERIOD.search(key) is not None), min(n_layers, _MOST) + 2)
        for key in law.keys
        if type(config.get(key)) is int
    }
    for count in (1, 2):
        for keys in combinations(spans, count):
            for values in product(*(spans[key] for key in keys)):
                yield dict(zip(keys, values, strict=True))
