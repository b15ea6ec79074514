"""What the inputs of a merge say, compared, configurations, shapes, tokens: errors, notes, what no function needs.

They must agree about how heads are cut and about activations.  Whatever else they disagree about (rotary base, norm
epsilon, a multiplier, a cap) is noted, nested tables too, and the donor's value stays; only what is known to change no
function is passed over.  Rotary angles are compared in one spelling, wherever they stand.

    said by one alone: noted, unless it is what a configuration without the key would most likely mean
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mergebarrier.checkpoint import LICENCE_FILES, TEMPLATE_FOLDER, is_of_tokenizer
from mergebarrier.checkpoint.bytes import parse_text
from mergebarrier.errors import BadConfig, ConfigMismatch, ShapeMismatch, apart, clean

if TYPE_CHECKING:
    from mergebarrier.checkpoint import Checkpoint, TensorInfo

#: What every loader makes anew, and what counts the steps of one training: the output takes the donor's.
COPIED_ROLES = ("buffer", "counter")
_TEMPLATES = frozenset(("chat_template.jinja", "tokenizer_config.json"))
_NO_TOKENS = ("chat_template.jinja", "merges.txt")
#: Files that are compared by what they say, or that no function depends on.
_SAID_ELSEWHERE = frozenset((
    "config.json", "generation_config.json", "README.md", "NOTICE", "USE_POLICY.md", "THIRD_PARTY_LICENSES",
    *LICENCE_FILES,
))  # fmt: skip
_VERSION = re.compile(r"_.*|\w*version")
_NAMED = 8
#: How stored tensors are cut and what stands between them; last words of keys.
_MUST_AGREE = re.compile(
    r"model_type|(\w+_)?num_(attention_|key_value_|kv_)?heads|(encoder|decoder)_attention_heads|n_heads?|(\w+_)?head_dim"
    r"|d_kv|hidden_act(ivation)?|activation_function|feed_forward_proj"
)
#: What no function depends on, or what the tensors themselves are compared for.
_HARMLESS = re.compile(
    r"_.*|architectures|auto_map|(torch_)?dtype|\w*version|name_or_path|license|base_model|finetuning_task|problem_type"
    r"|task_specific_params|id2label|label2id|num_labels|prefix|tokenizer_class|\w+_token_ids?|\w+_token_index"
    r"|use_cache|output_(attentions|hidden_states|\w*logits|scores|past)|return_dict\w*|use_return_dict|torchscript"
    r"|(attn|experts)_implementation|chunk_size_feed_forward"
    r"|gradient_checkpointing|pretraining_tp|quantization_config|initializer_\w+|\w*(dropout|pdrop|layerdrop)\w*"
    r"|\w*loss\w*|router_jitter_noise|mask_\w+|apply_spec_augment|label_smoothing|use_mambapy|unsloth_\w+"
    r"|vocab_size|tie_word_embeddings|\w*num_(hidden_|encoder_|decoder_)?layers|n_layers?|(encoder|decoder)_layers"
    r"|do_sample|temperature|top_[kp]|typical_p|num_beams|max_length|min_length|max_new_tokens|\w+_penalty|bad_words_ids"
    r"|no_repeat_ngram_size|early_stopping|suppress_tokens|begin_suppress_tokens|forced_decoder_ids|num_return_sequences"
)
#: Rotary angles of a configuration that does not say.
_USUAL = {"rope_theta": 10000, "rope_type": "default"}
#: Switches that many classes leave on where a configuration does not say.
_MAYBE_ON = re.compile(r"norm_topk_prob|scale_\w+|rope_interleave|use_qk_norm|apply_layernorm|position_biased_input")
_SAME = {"swish": "silu", "gelu_python": "gelu", "gelu_python_tanh": "gelu_pytorch_tanh"}
#: Infinity, as transformers 5 writes it.
_ENDLESS = {"__float__": "Infinity"}
#: Ways to compute one activation; a family's configuration may have been corrected from one to another.
_NEAR = frozenset(("gelu", "gelu_accurate", "gelu_fast", "gelu_new", "gelu_pytorch_tanh"))


def check_config(donor: "Checkpoint", other: "Checkpoint") -> list[str]:
    """Return notes about what two models may disagree about; ConfigMismatch about what they must agree about."""
    ours, theirs = _said(donor.config), _said(other.config)
    names = apart(other.path.absolute(), donor.path.absolute()), apart(donor.path.absolute(), other.path.absolute())
    notes: list[str] = []
    alone: dict[bool, list[str]] = {True: [], False: []}
    for key in dict.fromkeys([*ours, *theirs]):
        mine, yours = ours.get(key, _SILENT), theirs.get(key, _SILENT)
        lists = [value for value in (mine, yours) if isinstance(value, list)]
        if mine == yours or (len(lists) == 2 and len(lists[0]) != len(lists[1])):  # of layers, which recipes move
            continue
        if _SILENT in (mine, yours):
            value = yours if mine == _SILENT else mine
            if not _usual(key, value, donor.config if yours == _SILENT else other.config):
                alone[yours == _SILENT].append(f"{clean(key)} = {clean(repr(value))}")
            continue
        difference = f"{names[0]}: {clean(key)} is {clean(repr(yours))}, {names[1]} has {clean(repr(mine))}"
        if _MUST_AGREE.fullmatch(key.rpartition(".")[2]) and not _NEAR.issuperset(map(str, (mine, yours))):
            where, remedy = other.path / "config.json", "merge models that were fine-tuned from one base"
            raise ConfigMismatch(difference, where=where, remedy=remedy)
        notes.append(f"{difference}, which is kept")
    if alone[False]:
        notes.append(f"{names[0]}: only its configuration says {', '.join(alone[False])}; the output does not")
    if alone[True]:
        notes.append(f"{names[0]}: its configuration does not say {', '.join(alone[True])}, which is kept")
    return notes


_SILENT = "\0"


def _said(config: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return what a configuration says of the function: dotted keys, rotary angles in one spelling."""
    found: dict[str, object] = {}
    for key, value in _one_rope(config).items():
        if isinstance(value, Mapping):
            found |= _said(value, f"{prefix}{key}.")
        elif not _HARMLESS.fullmatch(key):
            found[f"{prefix}{key}"] = _one_word(value)
    return found


def _one_word(value: object) -> object:
    if isinstance(value, list):
        return [math.inf if one == _ENDLESS else one for one in value]
    return _SAME.get(value, value) if isinstance(value, str) else value


def _one_rope(config: Mapping[str, object]) -> dict[str, object]:
    """Return a table with rope_theta, rope_type and the rest beside one another, wherever they stood."""
    table = {key: value for key, value in config.items() if key not in ("rope_parameters", "rope_scaling")}
    tables = (config.get("rope_scaling"), config.get("rope_parameters"))
    rope = {key: value for one in tables if isinstance(one, Mapping) for key, value in one.items()}
    if any(isinstance(value, Mapping) for value in rope.values()):  # one table per kind of layer
        return {**table, "rope_parameters": rope}
    if "type" in rope:
        rope = {"rope_type": rope.pop("type"), **rope}
    local = table.pop("rope_local_base_freq", None)
    if local is not None:
        rope = {"rope_theta": table.pop("rope_theta", _USUAL["rope_theta"]), **rope}
        return {**table, "rope_parameters": {"full_attention": rope, "sliding_attention": {"rope_theta": local}}}
    return {**table, **rope}


def _usual(key: str, value: object, config: Mapping[str, object]) -> bool:
    """Whether a value says what a configuration without the key would most likely mean."""
    last = key.rpartition(".")[2]
    layers = value if isinstance(value, list) else [value]
    if isinstance(value, bool):  # off where a class does not say otherwise, which is on in some
        return not value and _MAYBE_ON.fullmatch(last) is None
    if not value or value in (1, _USUAL.get(last)) or all(one == "full_attention" for one in layers):
        return True
    table: object = config
    for word in key.split(".")[:-1]:
        table = table.get(word) if isinstance(table, Mapping) else None
    heads = table.get("num_attention_heads") if isinstance(table, Mapping) else None
    if last == "num_key_value_heads":
        return value == heads
    return last == "head_dim" and isinstance(table, Mapping) and _product(value, heads) == table.get("hidden_size")


def _product(a: object, b: object) -> object:
    return a * b if isinstance(a, int) and isinstance(b, int) else None


def check_tensors(donor: "Checkpoint", other: "Checkpoint") -> None:
    """Raise ShapeMismatch unless all that is merged has one shape in both."""
    for name, info in donor.tensors.items():
        if info.role not in COPIED_ROLES:
            check_shape(donor, info, other, other.tensors[name])


def check_shape(
    donor: "Checkpoint", info: "TensorInfo", other: "Checkpoint", theirs: "TensorInfo", *, any_rows: bool = False
) -> None:
    """Raise ShapeMismatch unless two tensors have one shape (but for their rows) and are both, or both not, floats."""
    where = f"{other.name}: {theirs.name}"
    if theirs.shape[any_rows:] != info.shape[any_rows:]:
        rows = [shape[0] if shape else None for shape in (theirs.shape, info.shape)]
        vocabularies = [side.config.get("vocab_size") for side in (other, donor)]
        if theirs.shape[1:] == info.shape[1:] and rows == vocabularies:
            what = f"the vocabulary has {rows[0]} rows against {rows[1]}"
            remedy = "merge by a recipe with tokenizer: {source: base}, or models of one vocabulary"
            if len(other.folders) > 1:
                remedy += "; merge BASE+ADAPTER --method passthrough puts an adapter on its base"
        else:
            what, remedy = f"shape {theirs.shape} against {info.shape}", "merge fine-tunes of one base"
        raise ShapeMismatch(f"{what} in {donor.name}", where=where, remedy=remedy)
    if is_float(theirs.dtype) != is_float(info.dtype):
        raise ShapeMismatch(
            f"dtype {theirs.dtype} against {info.dtype} in {donor.name}",
            where=where,
            remedy="merge models that were fine-tuned from one base",
        )


def is_float(dtype: str) -> bool:
    """Say whether a stored dtype is merged by arithmetic; others are copied when equal."""
    return dtype.startswith(("F", "BF"))


def token_notes(models: "Sequence[Checkpoint]") -> list[str]:
    """Say where rows of a merge row by row stand for other tokens than in the donor; files alike are not parsed."""
    donor, *others = models
    ours = _token_files(donor)
    differing = [other for other in others if _token_files(other) != ours]
    if not differing:
        return []
    from mergebarrier.merge.vocabulary import differences

    return differences(donor, differing)


def _token_files(model: "Checkpoint") -> dict[str, bytes]:
    names = (name for name in model.side_files if is_of_tokenizer(name) and name not in _NO_TOKENS)
    return {name: model.read_side_file(name) for name in names if not name.startswith(TEMPLATE_FOLDER)}


def folder_notes(models: "Sequence[Checkpoint]") -> list[str]:
    """Say what a merge that takes all files of its first model leaves of the others."""
    donor, *others = models
    return [*donor_notes(donor, others), *token_notes(models), *chat_notes(donor, others)]


def donor_notes(donor: "Checkpoint", others: "Sequence[Checkpoint]") -> list[str]:
    """Say what becomes of tensors that are no weights, and which files of the models the output lacks."""
    roles = [info.role for info in donor.tensors.values()]
    said = {
        "counter": "{} counters of training steps are those of {}",
        "statistic": "{} running statistics are averaged over the experts, evenly; {} gives their names",
    }
    notes = [text.format(roles.count(role), donor.name) for role, text in said.items() if role in roles]
    adapted = [other for other in others if len(other.folders) > 1]
    notes += dict.fromkeys(note for one in (donor, *adapted) for note in one.as_stored().folder_notes)
    return [*notes, *(note for other in others for note in _file_notes(donor, other))]


def chat_notes(source: "Checkpoint", others: "Sequence[Checkpoint]") -> list[str]:
    """Say which models have another chat template than the one whose tokenizer the output takes."""
    if not any(_TEMPLATES & set(model.side_files) for model in (source, *others)):
        return []
    from mergebarrier.merge.chat import template_notes

    return template_notes(source, others)


def _file_notes(donor: "Checkpoint", other: "Checkpoint") -> list[str]:
    """Say which texts of processors and modules only another model has, or has otherwise."""
    theirs = [name for name in other.side_files if not (name in _SAID_ELSEWHERE or is_of_tokenizer(name))]
    alone = [name for name in theirs if name not in donor.side_files]
    unlike = [name for name in theirs if name in donor.side_files and _text_of(donor, name) != _text_of(other, name)]
    ours, whose = (
        apart(donor.path.absolute(), other.path.absolute()),
        apart(other.path.absolute(), donor.path.absolute()),
    )
    notes = [f"{whose}: {_names(alone)} not in the output, whose files are those of {ours}"] if alone else []
    return [*notes, *([f"{whose}: {_names(unlike)} differ from those of {ours}, which are kept"] if unlike else [])]


def _text_of(model: "Checkpoint", name: str) -> object:
    """Return what a file says; of a table in JSON what is not about versions of libraries."""
    data = model.read_side_file(name)
    if not name.endswith(".json"):
        return data
    try:
        document = parse_text(data, BadConfig, where=name)
    except BadConfig:
        return data
    if not isinstance(document, dict):
        return document
    return {key: value for key, value in document.items() if not _VERSION.fullmatch(key)}


def _names(files: Sequence[str]) -> str:
    more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
    return f"{', '.join(files[:_NAMED])}{more}"
