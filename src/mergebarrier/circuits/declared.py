"""What a configuration declares, against what the files hold: rows of the vocabulary, layers, widths, heads, experts.

    a table of the family:  size of an axis under the configuration = what every tensor that carries it has
    every family:           layers counted = layers stored, but for those that predict further tokens
                            a vocab_size = rows of every embedding; a width, a number of experts likewise
    a model of one part:    positions = rows of their table; the width of an MLP = a side of its first map

A loader would stop, draw what lacks at random, or pass over the rest.  Only what a configuration says is held against
the files: a key that it leaves out is the default of a class.  Source: ours.  Differs from ``match``, which refuses a
tensor that it does not know: a merge needs no table.  ``require_same`` holds two models against each other.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from mergebarrier.arch import FAMILIES, Family, Node, leaves, size_of
from mergebarrier.checkpoint import Checkpoint, TensorInfo
from mergebarrier.circuits.circuit import Architecture, lines_of, spoken
from mergebarrier.circuits.describe import check_rows, evaluate, family_of, mismatch, numbers_said
from mergebarrier.circuits.embedding import EMBEDDING
from mergebarrier.errors import BaseMismatch, UnknownFamily, clean
from mergebarrier.published import PLAN

_OTHER_BASE: Final = "give the base that the model was fine-tuned from"
#: Types whose embeddings have rows, widths or layers that their configuration says in a way of its own.
OTHERWISE: Final = frozenset((
    "csm", "efficientnet", "funnel", "kyutai_speech_to_text",
    "longcat_flash", "mllama", "mllama_text_model", "molmo2", "molmo2_text", "moshi", "nemo_speechlm",
    "nemotron_h_omni", "neomme",
))  # fmt: skip
#: Layers behind the counted ones, which predict further tokens.
_JOINS: Final = ".eh_proj."  # in such a layer, said or not
_FURTHER: Final = re.compile(r"num_nextn_predict_layers|mtp_num_(hidden_)?layers|num_mtp_layers")
_LAYERS: Final = re.compile(r"(\w+_)?num_(hidden_)?layers|num_(en|de)coder_layers|(en|de)coder_layers|n_layers?|layers")
_WIDTHS: Final = re.compile(r"(\w+_)?(hidden_size|d_model|n_embd|(embed|embedding|hidden|proj)_?(dim|size))|dim")
_EXPERTS: Final = re.compile(r"(?!.*per_tok)\w*experts")
#: Layers of one stack, and the experts of a layer, one by one or as one tensor.
_STACK: Final = re.compile(
    r"((?:(?:model|transformer|language_model|text_model|decoder|encoder|bert|roberta|gpt_neox|backbone)\.)*"
    r"(?:layers?|h))\.(\d+)\..*"
)
_EXPERT: Final = re.compile(r"(.*\.experts)\.(\d+)\..*")
_JOINED: Final = re.compile(r".*\.experts\.(gate_up|gate|up|down)_proj")
#: Rows of positions, of tokens or of the patches of a picture, with up to two before the first.
_POSITIONS: Final = re.compile(
    r"(?:.*\.)?(?<!position_embeddings\.)(?:wpe|embed_positions|positions?_embed(?:ding)?s?|pos_embed)(?:\.weight)?"
)
_LENGTHS: Final = re.compile(
    r"max_(\w+_)?position_embeddings|n_positions|max_(source|target)_positions|max_sequence_length|seq_length"
)
#: The first map of a plain MLP, once or gate and value as one, and the keys that say its width.
_MLP: Final = re.compile(r".*\.\d+\.mlp\.(gate_proj|up_proj|gate_up_proj|fc1|c_fc|fc_in|dense_h_to_4h)\.weight")
#: The map behind it, which no gate doubles.
_DOWN: Final = re.compile(r".*\.\d+\.mlp\.(down_proj|fc2|c_proj|fc_out|dense_4h_to_h)\.weight")
_MLPS: Final = re.compile(r"(\w+_)?(intermediate_size|ffn_dim|ffn_hidden_size|n_inner|d_ff|d_inner|mlp_dim)")
#: Classes that read the width of their MLPs from ``n_inner`` alone; without it, it is four times that of the model.
_OF_N_INNER: Final = ("codegen", "decision_transformer", "gpt2", "gpt_bigcode", "gptj", "imagegpt")
#: A norm of a layer, as long as its model is wide, whatever the embedding is projected from.
_NORM: Final = re.compile(
    r".*\.\d+\.(self_attn_layer_norm|final_layer_norm|(input|post_attention)_layernorm|ln_[12])\.weight"
)
#: Keys and values of attention, and the keys that say how many heads they have and how wide one is.
_KEYS: Final = re.compile(r".*\.\d+\.(self_attn|attention|attn)\.[kv]_proj\.weight")
_KV_HEADS: Final = re.compile(r"(\w+_)?num_(\w+_)?(key_value|kv)_heads")
_HEAD_DIM: Final = re.compile(r"(\w+_)?head_dim")
#: Parts beside the model that a configuration without tables of its own is about.
_PART: Final = re.compile(r"vision|visual|image|audio|speech|tower|qformer|sampler|projector|connector")


def check_declared(*models: Checkpoint) -> tuple[str, ...]:
    """Compare what configurations say with the tensors.

    Returns: a note for every model that could not be looked at.
    Raises: ConfigMismatch with what is said, and what the files hold.
    """
    passed_over = []
    for model in models:
        if model.config.get("model_type") in OTHERWISE:
            kind = clean(model.config["model_type"])
            passed_over.append(f"{model.name}: a {kind} says its sizes in a way of its own; they are not compared")
            continue
        check_rows(model)
        floats = {name: info for name, info in model.tensors.items() if info.dtype.startswith(("F", "BF"))}
        further = tuple(name.partition(_JOINS)[0] + "." for name in floats if _JOINS in name)
        floats = {name: info for name, info in floats.items() if not name.startswith(further)}
        table = None if PLAN in model.config else _table_of(model)
        if table is not None and all(evaluate(key, model.config) in fine for key, (fine, _) in table.refused.items()):
            _check_table(model, table, floats)
        else:
            _check_named(model, floats)
        if not any(key.endswith("_config") and key != "quantization_config" for key in model.config):
            _check_alone(model, floats)
    return tuple(passed_over)


def _table_of(model: Checkpoint) -> Family | None:
    """Return the table of a model, or of another class of its kind; None for no such."""
    try:
        return family_of(model)
    except UnknownFamily:
        return next(iter(FAMILIES.of_type(model.config.get("model_type"))), None)


def _check_table(model: Checkpoint, table: Family, tensors: Mapping[str, TensorInfo]) -> None:
    """Hold sizes of axes and numbers of layers and experts, as the table reads them, against the tensors."""
    expressions = {name: axis.size for name, axis in table.axes.items()} | dict(table.layers)
    sizes = {name: size for name, text in expressions.items() if (size := _size(model, text)) is not None}
    stored: dict[str, int] = {}
    stacks: dict[str, str] = {}
    for name, found in lines_of(table, tensors):
        line, match = found or (None, None)
        if line is None or match is None or line.nodes is None:
            continue
        for place, index in match.groupdict().items():
            stored[place] = max(stored.get(place, 0), int(index) + 1)
            stacks.setdefault(place, line.name.partition(f".{{{place}}}")[0].format_map(match.groupdict()))
        wanted, shape = tuple(_length(node, sizes) for node in line.nodes), tensors[name].shape
        if len(wanted) == len(shape) and any(a not in (0, b) for a, b in zip(wanted, shape, strict=True)):
            said = {expressions[axis]: sizes[axis] for axis in line.axes if axis in sizes}
            raise mismatch(model, said, f"{clean(name)} has shape {shape}, not {spoken(wanted)}")
    for place, number in stored.items():
        if place in sizes and number not in _with_further(model, sizes[place]):
            raise mismatch(model, {expressions[place]: sizes[place]}, f"{clean(stacks[place])} has {number} of them")


def _size(model: Checkpoint, expression: str) -> int | None:
    """Return a size under the configuration; None where it does not say, or says it layer by layer."""
    value = evaluate(expression, model.config)
    if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
        return None
    if value % 1:  # of infinity too
        raise mismatch(model, {expression: value}, "a size is a whole number")
    return int(value)


def _length(node: Node, sizes: Mapping[str, int]) -> int:
    """Return the entries of a node; 0 where the configuration does not say the size of one of its axes."""
    known = all(leaf.axis in sizes for leaf in leaves(node) if leaf.axis)
    return size_of(node, sizes) if known else 0


def _check_named(model: Checkpoint, tensors: Mapping[str, TensorInfo]) -> None:
    """Hold the numbers of keys that say what they count against tensors whose names say what they are."""
    layers, widths, experts = (dict(numbers_said(model.config, key)) for key in (_LAYERS, _WIDTHS, _EXPERTS))
    stored: dict[tuple[str, str], int] = {}
    for name, info in tensors.items():
        for kind, found in (("layers", _STACK.fullmatch(name)), ("experts", _EXPERT.fullmatch(name))):
            if found is not None:
                stored[kind, found[1]] = max(stored.get((kind, found[1]), 0), int(found[2]) + 1)
        if _JOINED.fullmatch(name) and len(info.shape) == 3:
            stored["experts", name] = info.rows
        if widths and EMBEDDING.search(name) and len(info.shape) == 2 and info.shape[1] not in widths.values():
            raise mismatch(model, widths, f"{clean(name)} has {info.shape[1]} columns")
    for (kind, where), number in stored.items():
        said = layers if kind == "layers" else experts
        fine = {one for count in said.values() for one in _with_further(model, count)}
        if said and number not in fine:
            raise mismatch(model, said, f"{clean(where)} has {number} {kind}")


def _check_alone(model: Checkpoint, tensors: Mapping[str, TensorInfo]) -> None:
    """Hold positions, and heads and widths inside layers, of one plain model, for which no table has a line."""
    lengths, widths, wide, heads, dims = (
        dict(numbers_said(model.config, key)) for key in (_LENGTHS, _MLPS, _WIDTHS, _KV_HEADS, _HEAD_DIM)
    )
    if model.config.get("model_type") in _OF_N_INNER:
        widths = {key: one for key, one in widths.items() if key.endswith("n_inner")}
    patches = dict(_patches(model.config))
    across = {one * dim for one in heads.values() for dim in dims.values() if "head_dim" in dims}
    keys: dict[int, str] = {}  # rows -> a tensor: some classes give some layers other heads, which they may not say
    for name, info in tensors.items():
        if _PART.search(name):
            continue
        if wide and _NORM.fullmatch(name) and info.rows not in wide.values():
            raise mismatch(model, wide, f"{clean(name)} has {info.rows} entries")
        if across and _KEYS.fullmatch(name):
            keys.setdefault(info.rows, name)
        if len(info.shape) < 2 or info.shape[-2] < 2:
            continue
        said = patches if len(info.shape) == 3 and info.rows == 1 else lengths if len(info.shape) == 2 else {}
        if _POSITIONS.fullmatch(name) and said and not {info.shape[-2] - more for more in range(3)} & {*said.values()}:
            raise mismatch(model, said, f"{clean(name)} has {info.shape[-2]} rows")
        times = (1, 2) if _MLP.fullmatch(name) else (1,) if _DOWN.fullmatch(name) else ()
        if widths and times and not {*info.shape} & {k * one for one in widths.values() for k in times}:
            raise mismatch(model, widths, f"{clean(name)} has shape {info.shape}")
    if keys and not across & keys.keys():
        rows, name = next(iter(keys.items()))
        raise mismatch(model, heads | dims, f"{clean(name)} has {rows} rows")


def _patches(config: Mapping[str, object]) -> Iterator[tuple[str, int]]:
    """Yield into how many patches a picture is cut, where that is said."""
    sides = [evaluate(key, config) for key in ("image_size", "patch_size")]
    image, patch = ([one, one] if type(one) is int else one for one in sides)
    pairs = all(isinstance(one, list) and [type(side) for side in one] == [int, int] for one in (image, patch))
    if pairs and 0 not in patch and "patch_stride" not in config:
        yield "(image_size / patch_size) ** 2", (image[0] // patch[0]) * (image[1] // patch[1])


def _with_further(model: Checkpoint, count: int) -> set[int]:
    """Return a number of layers, and that with some of those which predict further tokens."""
    return {count + one for _, more in numbers_said(model.config, _FURTHER) for one in range(more + 1)} | {count}


def require_same(model: Architecture, base: Architecture, *, where: object) -> None:
    """Raise BaseMismatch unless two models have one family, the same sizes and the same tensors."""
    if model.family != base.family:
        raise BaseMismatch(f"the model is a {model.family}, the base a {base.family}", where=where, remedy=_OTHER_BASE)
    for name, ours in model.dims.items():
        if ours != base.dims.get(name):
            raise BaseMismatch(f"{name} is {ours} in the model and {base.dims.get(name)} in the base", where=where,
                               remedy=_OTHER_BASE)  # fmt: skip
    ours_names, theirs_names = (
        {
            member.canonical
            for circuit in side.circuits
            for member in circuit.members
            if circuit.name not in side.stands_for
        }
        | {name for names in side.stands_for.values() for name in names}
        for side in (model, base)
    )
    if ours_names != theirs_names:
        odd = min(ours_names ^ theirs_names)
        raise BaseMismatch(
            f"only the {'model' if odd in ours_names else 'base'} holds {odd}", where=where, remedy=_OTHER_BASE
        )
