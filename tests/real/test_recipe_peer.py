"""The same YAML gives the same tensors here and in mergekit 0.1.5, over a grid of methods and of forms of parameters.

Models are tiny float32 Llamas of four layers. Every recipe is text; mergekit gets what PyYAML reads in it, ours is
parsed, planned and streamed. Entries may differ by 2 units in the last place of the largest operand. On the arc of
slerp mergekit is itself up to 4 units from the exact value, which ours must meet within 2; after an L1 rescale, whose
factor and products round too, up to 8 and 4; methods that sum norms are held to the exact value as FROM_EXACT of
``test_mergekit_peer_methods`` says, each by its own limit. Random thinning is compared at density 1,
its distribution in ``test_mergekit_peer``.
"""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from test_mergekit_peer import in_last_place, on_the_arc
from test_mergekit_peer_methods import FROM_EXACT
from torch import Tensor

from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.merge import MERGES
from mergebarrier.merge.recipe import plan
from mergebarrier.merge.recipe.recipe import parse
from mergebarrier.run import transform
from peer_mergekit import mergekit_merge_all

pytestmark = pytest.mark.real

HIDDEN, VOCABULARY, INNER, LAYERS = 32, 48, 56, 4


def llama(folder: Path, seed: int, *, layers: int = LAYERS, step: float = 0.2, tied: bool = False) -> Path:
    """Write a tiny Llama: a base common to all seeds, moved by ``step`` in units of its own spread."""
    square, half = (HIDDEN, HIDDEN), (HIDDEN // 2, HIDDEN)
    shapes = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "model.norm.weight": (HIDDEN,)}
    shapes |= {} if tied else {"lm_head.weight": (VOCABULARY, HIDDEN)}
    for layer in range(layers):
        parts = {"self_attn.q_proj": square, "self_attn.k_proj": half, "self_attn.v_proj": half}
        parts |= {"self_attn.o_proj": square, "mlp.gate_proj": (INNER, HIDDEN), "mlp.up_proj": (INNER, HIDDEN)}
        parts |= {"mlp.down_proj": (HIDDEN, INNER), "input_layernorm": (HIDDEN,), "post_attention_layernorm": (HIDDEN,)}
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in parts.items()}
    common, own = torch.Generator().manual_seed(77), torch.Generator().manual_seed(seed)
    tensors = {
        name: 0.05 * (torch.randn(shape, generator=common) + step * torch.randn(shape, generator=own))
        for name, shape in shapes.items()
    }
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
        "intermediate_size": INNER, "num_hidden_layers": layers, "num_attention_heads": 4, "num_key_value_heads": 2,
        "vocab_size": VOCABULARY, "max_position_embeddings": 64, "tie_word_embeddings": tied, "dtype": "float32",
    }  # fmt: skip
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


#: How a weight (or t) may be written.
FORMS = {
    "scalar": "0.3",
    "scientific": "3e-1",
    "gradient": "[0.1, 0.9]",
    "longer": "[0.0, 0.2, 1e-1, 0.8, 0.4]",
    "filters": "[{filter: self_attn, value: 0.2}, {filter: mlp, value: 0.7}, {value: 0.5}]",
    "star": '[{filter: norm, value: 0.9}, {filter: "*", value: [0.1, 0.6]}]',
    "falls": "[{filter: down_proj, value: [0.15, 0.85]}]",
    "mapping": "{filter: layers, value: 0.45}",
}
TASK_VECTORS = ("task_arithmetic", "ties", "dare_linear", "dare_ties")
MODELS = """
models:
  - model: @a
    parameters: {weight: FORM}
  - model: @b
    parameters: {weight: 0.6}
parameters: {weight: 0.8}
"""
SLICES = """
slices:
  - sources:
      - {model: @base, layer_range: [0, 1]}
      - {model: @a, layer_range: [0, 1], parameters: {weight: FORM}}
      - {model: @b, layer_range: [1, 2]}
    parameters: {weight: 0.25}
  - sources:
      - {model: @base, layer_range: [1, 4]}
      - {model: @b, layer_range: [0, 3], parameters: {weight: FORM}}
      - {model: @a, layer_range: [1, 4]}
parameters: {weight: 0.8}
"""
SLERP = """
merge_method: slerp
base_model: NEAR
models: [{model: FAR}, {model: NEAR}]
parameters: {t: FORM}
"""
STACK = """
slices:
  - sources: [{model: @a, layer_range: [0, 3]}]
  - sources: [{model: @b, layer_range: [1, 4]}]
  - sources: [{model: @a, layer_range: [2, 4]}]
"""
PAIR = "models: [{model: @a}, {model: @b}]"
BASED = "base_model: @base\n" + PAIR
WEIGHED = "models: [{model: @a, parameters: {weight: [0.2, 0.7]}}, {model: @b, parameters: {weight: 0.6}}]"
#: Further methods, each of their words in some recipe.
FURTHER = {
    "passthrough": [STACK, "parameters: {scale: [{filter: o_proj, value: 0.5}, {value: 1.0}]}" + STACK],
    "nuslerp": [
        WEIGHED,
        f"base_model: @base\n{WEIGHED}",
        f"{WEIGHED}\nparameters: {{nuslerp_flatten: false}}",
        f"{WEIGHED}\nparameters: {{nuslerp_flatten: false, nuslerp_row_wise: true}}",
    ],
    "multislerp": [WEIGHED, f"base_model: @base\n{WEIGHED}", f"{WEIGHED}\nparameters: {{normalize_weights: false}}"],
    "karcher": [PAIR, f"{PAIR}\nparameters: {{max_iter: 3, tol: 1e-6}}"],
    "nearswap": ["base_model: @base\nmodels: [{model: @a}]\nparameters: {t: [0.001, 0.01]}"],
    "model_stock": [BASED, f"{BASED}\nparameters: {{filter_wise: true}}"],
    "ram": [BASED, f"{BASED}\nparameters: {{epsilon: 1e-2}}"],
    "sce": [BASED, f"{BASED}\nparameters: {{select_topk: [0.3, 0.9], int8_mask: true}}"],
    "breadcrumbs": [f"base_model: @base\n{WEIGHED}\nparameters: {{density: 0.6, gamma: [0.1, 0.2], lambda: 0.5}}"],
    "breadcrumbs_ties": [f"base_model: @base\n{WEIGHED}\nparameters: {{density: 0.6, normalize: true}}"],
    "della": [f"base_model: @base\n{WEIGHED}\nparameters: {{normalize: false}}"],
    "della_linear": [f"base_model: @base\n{WEIGHED}\nparameters: {{lambda: [0.5, 1.5]}}"],
}


def recipes() -> Iterator[str]:
    """Yield YAML with @a, @b, @c, @base and so on in place of folders."""
    for name, form in FORMS.items():
        body = MODELS.replace("FORM", form)
        yield f"merge_method: linear{body}"
        for method in TASK_VECTORS:
            yield f"merge_method: {method}\nbase_model: @base{body}"
        yield f"merge_method: linear\nbase_model: @base{SLICES.replace('FORM', form)}"
        yield f"merge_method: ties\nbase_model: @base{SLICES.replace('FORM', form)}"
        for near, far in (("@a", "@b"), ("@x", "@y")):
            t = {"falls": "[{filter: down_proj, value: [0.15, 0.85]}, {value: 0.5}]"}.get(name, form)
            t = {"mapping": "[{filter: layers, value: 0.45}, {value: 1.0}]"}.get(name, t)
            yield SLERP.replace("NEAR", near).replace("FAR", far).replace("FORM", t)
    yield from others()


def others() -> Iterator[str]:
    """Yield what the grid of forms does not reach."""
    plain = MODELS.replace("FORM", "[0.2, 0.7]")
    based = "base_model: @base" + plain
    for method in TASK_VECTORS:
        for key in ("normalize: true", "normalize: false", "lambda: 0.37", "lambda: [1.5, 0.5]", "int8_mask: true"):
            yield f"merge_method: {method}\n{based.replace('weight: 0.8', f'weight: 0.8, {key}')}"
    for density in ("0.5", "[0.9, 0.1]", "[{filter: mlp, value: 0.3}, {value: 0.7}]", "1e-2"):
        yield f"merge_method: ties\n{based.replace('weight: 0.8', f'weight: 0.8, density: {density}')}"
        yield f"merge_method: ties\n{based.replace('weight: 0.6', f'weight: 0.6, density: {density}')}"
    yield f"merge_method: ties\n{based.replace('weight: 0.8', 'weight: 0.8, density: 0.5, rescale: true')}"
    yield f"merge_method: task_arithmetic\n{based.replace('weight: 0.8', 'weight: 0.8, density: 0.5')}"
    yield f"merge_method: linear\n{based}"  # the base joins the sum with the weight of the recipe
    yield f"merge_method: linear\n{plain.replace('weight: 0.8', 'normalize: false')}"
    yield f"merge_method: linear\n{plain.replace('weight: 0.8', 'normalize: [true, false]')}"
    yield f"merge_method: linear\ndtype: bfloat16\n{plain}"
    yield f"merge_method: linear\ndtype: float32\nout_dtype: float16\n{plain}"
    yield f"merge_method: linear\nout_dtype: bfloat16\n{plain}"
    yield f"merge_method: task_arithmetic\nout_dtype: bfloat16\n{based}"
    yield f"merge_method: ties\ndtype: float64\nout_dtype: float32\n{based}"
    yield f"merge_method: linear\nmodules:\n  default:{indented(plain)}"
    yield f"merge_method: ties\nbase_model: @base\nmodules:\n  default:{indented(SLICES.replace('FORM', '0.4'))}"
    yield f"merge_method: linear\nbase_model: @base{SLICES.replace('FORM', '0.4')}"
    yield f"merge_method: linear\nparameters: {{weight: 1}}{STACK}"
    yield f"merge_method: linear\nbase_model: @b\nparameters: {{weight: 2, normalize: false}}{STACK}"
    listed = plain.replace("models:", "models:\n  - model: @base\n    parameters: {weight: 9}")
    yield f"merge_method: ties\nbase_model: @base{listed}"
    yield f"merge_method: linear\n{plain.replace('@a', '@s').replace('@b', '@t')}"
    yield f"merge_method: ties\nbase_model: @s{plain.replace('@a', '@t').replace('@b', '@u')}"
    for method, forms in FURTHER.items():
        for form in forms if method in MERGES else ():
            yield f"merge_method: {method}\n{form}"


def indented(text: str) -> str:
    return text.replace("\n", "\n    ")


class Table(dict[str, Tensor]):
    """A sink in memory."""

    def done(self, unit_name: str) -> bool:
        return False

    def put(self, name: str, tensor: Tensor) -> None:
        self[name] = tensor

    def put_rows(self, name: str, start_row: int, tensor: Tensor) -> None:
        self[name] = torch.cat([self[name], tensor]) if start_row else tensor

    def finish(self, unit_name: str, names: object) -> None:
        pass


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_the_same_yaml_gives_the_same_tensors(tmp_path, every, record_property) -> None:
    folders = {name: llama(tmp_path / name, seed) for seed, name in enumerate(("base", "a", "b", "c"))}
    folders |= {name: llama(tmp_path / name, 10 + i, step=3.0) for i, name in enumerate("xy")}
    folders |= {name: llama(tmp_path / name, 20 + i, tied=True) for i, name in enumerate("stu")}
    texts = list(dict.fromkeys(re.sub(r"@(\w+)", lambda found: str(folders[found[1]]), text) for text in recipes()))
    assert len(texts) >= 60
    texts = texts[::every]  # methods of the grid take turns within nine recipes, so every fourth has them all
    outs = [tmp_path / f"out{i}" for i in range(len(texts))]
    mergekit_merge_all([(yaml.safe_load(text), out) for text, out in zip(texts, outs, strict=True)])
    wrong, worst = [], 0.0
    for text, out in zip(texts, outs, strict=True):
        fault, apart = compare(text, out)
        worst = max(worst, apart)
        if fault:
            wrong.append(f"{fault}\n{text}")
    record_property("recipes", len(texts))
    record_property("worst_ulp", worst)
    assert not wrong, f"{len(wrong)} of {len(texts)}:\n" + "\n\n".join(wrong[:5])


def compare(text: str, out: Path) -> tuple[str, float]:
    """Return what is wrong, if anything, and the largest difference in units of the last place."""
    theirs: dict[str, Tensor] = {}
    for shard in out.glob("*.safetensors"):
        theirs |= load_file(shard)
    with ExitStack() as stack:
        recipe = parse(text.encode(), "recipe")
        opened = {ref: stack.enter_context(open_checkpoint(ref.path)) for ref in recipe.references()}
        planned = plan(recipe, opened)
        ours = Table()
        transform(planned.sources, ours, planned.units, planned.apply)
        config = json.loads(planned.small_files()["config.json"])
        their_config = json.loads((out / "config.json").read_text())
        if config["num_hidden_layers"] != their_config["num_hidden_layers"]:
            return f"{config['num_hidden_layers']} layers against {their_config['num_hidden_layers']}", 0.0
        if ours.keys() != theirs.keys():
            return f"other tensors: {sorted(ours.keys() ^ theirs.keys())}", 0.0
        worst = 0.0
        for name, our in ours.items():
            their, tensor = theirs[name], planned.tensors[name]
            if our.dtype != their.dtype or our.shape != their.shape:
                return f"{name}: {our.dtype} {our.shape} against {their.dtype} {their.shape}", worst
            inputs = [item.model.read(item.name) for item in tensor.target.inputs]
            operands = [part.to(our.dtype) for part in inputs]
            if tensor.method.uses_base:  # task vectors are operands too, and may be larger than what they come from
                operands += [part - operands[0] for part in operands[1:]]
            t = tensor.effective["t"] if recipe.method == "slerp" else None
            exact = on_the_arc(*inputs, t) if t is not None else None
            if exact is not None:
                errors = [in_last_place(side.double() - exact, [*operands, our]) for side in (our, their)]
                if errors[0] > 2 or errors[1] > 4:
                    return f"{name}: {errors} from the arc", worst
                continue
            if tensor.effective.get("rescale"):  # the norms are summed in float32 there, in float64 here
                wide = [part.double() for part in inputs]
                exact = tensor.method.merge(wide[0], wide[1:], name=name)
                errors = [in_last_place(side.double() - exact, [*operands, our]) for side in (our, their)]
                if errors[0] > 4 or errors[1] > 8:
                    return f"{name}: {errors} from the exact value", worst
                continue
            if recipe.method in FROM_EXACT:
                wide = [part.double() for part in inputs]
                base, experts = (wide[0], wide[1:]) if tensor.method.uses_base else (None, wide)
                exact = tensor.method.merge(base, experts, name=name)
                errors = [in_last_place(side.double() - exact, [*operands, our]) for side in (our, their)]
                if any(error > limit for error, limit in zip(errors, FROM_EXACT[recipe.method], strict=True)):
                    return f"{name}: {errors} from the exact value", worst
                continue
            apart = in_last_place(our.double() - their.double(), [*operands, our])
            worst = max(worst, apart)
            if apart > (0 if recipe.method == "passthrough" else 2):
                return f"{name}: {apart} units apart, {tensor.effective}", worst
    return "", worst
