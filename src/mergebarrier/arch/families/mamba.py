"""Mamba: one axis of channels on six tensors, a low-rank step, and states that are ordered alike in B, C and A.

h <- exp(step A) h + step B x,   y = C h + D x:   B may gain what C loses, state by state
"""

from mergebarrier.arch.axes import Axis
from mergebarrier.arch.families.parts import neurons, norms, stream
from mergebarrier.arch.family import Family

_LAYER = "backbone.layers.{i}."
_MIXER = f"{_LAYER}mixer."
_LABEL = "layers.{i}.mixer"

MAMBA = Family(
    name="mamba",
    architectures=("MambaForCausalLM",),
    model_types=("mamba",),
    axes={
        "d": stream("signed"),
        "n": neurons("order", "intermediate_size or expand * hidden_size", _LABEL),
        "t": Axis(kind="basis", size="time_step_rank", scope=("i",), space="latents", stream=(_LABEL, "t")),
        "s": Axis(kind="glu", size="state_size", scope=("i",), space="latents", stream=(_LABEL, "s.")),
    },
    layers={"i": "num_hidden_layers"},
    dims={
        "hidden": "hidden_size",
        "mlp_width": "intermediate_size or expand * hidden_size",
        "vocab": "vocab_size",
        "n_layers": "num_hidden_layers",
        "positions": "0",
    },
    tensors={
        "backbone.embeddings.weight": "_ d",
        **norms(f"{_LAYER}norm", "backbone.norm_f"),
        f"{_MIXER}in_proj.weight": "(n | n) d",
        f"{_MIXER}in_proj.bias": "(n | n) ?",
        f"{_MIXER}conv1d.weight": "n 1 _",
        f"{_MIXER}conv1d.bias": "n ?",
        f"{_MIXER}x_proj.weight": "(t | s^ | s^') n",
        f"{_MIXER}dt_proj.weight": "n t'",
        f"{_MIXER}dt_proj.bias": "n",
        f"{_MIXER}A_log": "n s",
        f"{_MIXER}D": "n",
        f"{_MIXER}out_proj.weight": "d n",
        f"{_MIXER}out_proj.bias": "d ?",
        "lm_head.weight": "_ d",
    },
    folds={f"{_LAYER}norm": (f"{_MIXER}in_proj",)},
    tied=True,
    body="backbone.",
)
