"""A grid of recipes over dtypes, numbers of models, ties of the head and vocabularies: mergekit 0.1.5 and ours.

Every recipe is run by both from the same files, mergekit's all in one process. In units of the last place of the
largest operand (of the stored dtype): passthrough is exact, linear and slerp are within 1, all else within 2. Where
they are further apart, mergekit must itself be further than that from the value in float64, and ours within 2 of it
(or both sides lie within the same units of it, on either side);
``FURTHER`` names the methods where this happens, besides means of rows, and nothing else may. On bfloat16 linear and
slerp are held alike; methods on task vectors are run with ``arith: input``, which rounds them as mergekit does, and
those that select by magnitude are held by the share of entries, and of the mass, that ties at the cut move.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_mergekit_peer import in_last_place
from test_recipe_peer import Table
from torch import Tensor

from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.merge.recipe import plan
from mergebarrier.merge.recipe.recipe import parse
from mergebarrier.run import transform
from peer_mergekit import mergekit_merge_all

pytestmark = pytest.mark.real

HIDDEN, INNER, LAYERS = 32, 56, 2
PIECES = ["<unk>", "<s>", "</s>", *(f"t{i}" for i in range(3, 48))]
EXACT, CLOSE, NEAR = ("passthrough",), ("linear", "slerp"), 2.0
#: Methods whose norms, angles and sums mergekit takes in float32 (or in the dtype of the inputs), ours in float64.
FURTHER = (
    "slerp", "nuslerp", "multislerp", "karcher", "model_stock", "sce", "task_arithmetic", "ties", "dare_linear",
    "dare_ties", "breadcrumbs", "breadcrumbs_ties", "della", "della_linear", "ram", "ramplus_tl", "nearswap",
)  # fmt: skip
#: Share of a model's entries on the other side of a threshold that float32 sums move.
ACROSS = {"sce": 1e-3, "arcee_fusion": 2e-3}

#: Methods that keep the largest of a task vector, and the share of entries that ties at the cut may move in bfloat16.
MAGNITUDES, TIES = ("ties", "breadcrumbs", "breadcrumbs_ties"), 0.02


@dataclass
class Seen:
    """What one group of recipes showed."""

    recipes: int = 0
    worst: float = 0.0
    ours: float = 0.0
    theirs: float = 0.0
    across: float = 0.0
    mass: float = 0.0
    faults: list[str] = field(default_factory=list)


def llama(folder: Path, seed: int, dtype: torch.dtype, *, tied: bool = False, added: tuple[str, ...] = ()) -> Path:
    """Write a tiny Llama and its tokenizer: a base common to all seeds, moved by a fifth of its own spread."""
    square, half, rows = (HIDDEN, HIDDEN), (HIDDEN // 2, HIDDEN), len(PIECES) + len(added)
    shapes = {"model.embed_tokens.weight": (rows, HIDDEN), "model.norm.weight": (HIDDEN,)}
    shapes |= {} if tied else {"lm_head.weight": (rows, HIDDEN)}
    for layer in range(LAYERS):
        parts = {"self_attn.q_proj": square, "self_attn.k_proj": half, "self_attn.v_proj": half}
        parts |= {"self_attn.o_proj": square, "mlp.gate_proj": (INNER, HIDDEN), "mlp.up_proj": (INNER, HIDDEN)}
        parts |= {"mlp.down_proj": (HIDDEN, INNER), "input_layernorm": (HIDDEN,), "post_attention_layernorm": (HIDDEN,)}
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in parts.items()}
    tensors = {}
    for number, (name, shape) in enumerate(shapes.items()):
        common, own = torch.Generator().manual_seed(number), torch.Generator().manual_seed(1000 * (seed + 1) + number)
        moved = torch.randn(shape, generator=common) + 0.2 * torch.randn(shape, generator=own)
        tensors[name] = (0.05 * moved).to(dtype)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "vocab_size": rows,
        "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 64, "tie_word_embeddings": tied, "dtype": str(dtype).removeprefix("torch."),
        "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    rotated = PIECES[:3] + PIECES[3 + seed :] + PIECES[3 : 3 + seed]  # ids of their own
    document = {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "pre_tokenizer": None,
        "post_processor": None, "decoder": None,
        "added_tokens": [{"id": len(PIECES) + i, "content": token, **plain} for i, token in enumerate(added)],
        "model": {"type": "BPE", "vocab": {token: i for i, token in enumerate(rotated)}, "merges": []},
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(document))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "eos_token": "</s>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


FORMS: tuple[Any, ...] = (
    0.3,
    [0.2, 0.9],
    [{"filter": "self_attn", "value": 0.25}, {"filter": "*", "value": [0.7, 0.4]}],
)
BASED = {
    "task_arithmetic": {"normalize": False, "lambda": 0.7},
    "ties": {"density": 0.4, "lambda": 0.9},
    "dare_linear": {},
    "dare_ties": {"normalize": True},
    "breadcrumbs": {"density": 0.6, "gamma": 0.1},
    "breadcrumbs_ties": {"density": 0.6, "gamma": 0.1, "normalize": True},
    "della_linear": {"lambda": 0.5},
    "ram": {"epsilon": 5e-3},
    "ramplus_tl": {"epsilon": 5e-3, "r": 0.3, "alpha": 0.5},
    "sce": {"select_topk": 0.5},
    "model_stock": {},
}


def recipes() -> Iterator[dict[str, Any]]:
    """Yield recipes for models x, a, b and c."""

    def told(method: str, names: str, *, base: str | None = None, form: Any = 0.6, **parameters: Any) -> dict[str, Any]:
        weights = [form, 0.6, 0.9]
        models = [{"model": name, "parameters": {"weight": w}} for name, w in zip(names, weights, strict=False)]
        based = {"base_model": base} if base else {}
        return {"merge_method": method, **based, "models": models, "parameters": parameters}

    yield told("passthrough", "a")
    for form in FORMS:
        for names in ("ab", "abc"):
            yield told("linear", names, form=form)
            yield told("linear", names, form=form, normalize=False)
        yield told("linear", "ab", base="x", form=form, weight=0.5)
        yield told("slerp", "ab", base="a", t=form)
        yield told("nuslerp", "ab", form=form)
        yield told("nuslerp", "ab", base="x", form=form)
        yield told("multislerp", "abc", form=form)
    yield told("karcher", "ab")
    yield told("karcher", "abc", max_iter=5)
    yield told("nearswap", "a", base="x", t=0.01)
    yield told("arcee_fusion", "a", base="x")
    for method, parameters in BASED.items():
        for names in ("a", "ab", "abc")[method == "model_stock" :]:
            yield told(method, names, base="x", form=FORMS[len(names) - 1], **parameters)


def with_vocabularies() -> Iterator[dict[str, Any]]:
    """Yield recipes for models whose tokens have other ids."""
    for source in ("union", "base", "c"):
        for method in ("linear", "task_arithmetic", "slerp"):
            named = "ab" if method == "slerp" else "abc"
            models = [{"model": name, "parameters": {"weight": 0.5}} for name in named]
            recipe = {"merge_method": method, "base_model": "a", "models": models, "parameters": {"t": 0.3}}
            rules = {"t5": {"source": "b", "force": True}, "t6": {"source": {"kind": "zero"}, "force": True}}
            given = {"t7": {"source": {"kind": "model_token", "model": "b", "token": "<s>"}, "force": True}, **rules}
            yield {**recipe, "tokenizer": {"source": source}}
            yield {**recipe, "tokenizer": {"source": source, "pad_to_multiple_of": 16}}
            yield {**recipe, "tokenizer": {"source": source, "tokens": given}}


def placed(value: Any, folders: dict[str, Path]) -> Any:
    """Put folders in place of names of models."""
    if isinstance(value, dict):
        named = ("model", "base_model", "source")
        return {
            key: str(folders[item])
            if key in named and isinstance(item, str) and item in folders
            else placed(item, folders)
            for key, item in value.items()
        }
    return [placed(item, folders) for item in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Pair:
    """One recipe, run by both."""

    ours: dict[str, Tensor]
    theirs: dict[str, Tensor]
    wide: dict[str, Tensor]
    operands: dict[str, list[Tensor]]
    tokens: tuple[dict[str, int], dict[str, int]]
    aligned: bool


def run_both(recipe: dict[str, Any], out: Path) -> Pair:
    """Run ours, and in float64 for a judge; read what mergekit wrote."""
    theirs: dict[str, Tensor] = {}
    for shard in out.glob("*.safetensors"):
        theirs |= load_file(shard)
    text = json.dumps(recipe).encode()  # JSON is YAML
    with ExitStack() as stack:
        parsed = parse(text, "recipe")
        opened = {ref: stack.enter_context(open_checkpoint(ref.path)) for ref in parsed.references()}
        planned = plan(parsed, opened)
        ours, wide = Table(), {}
        transform(planned.sources, ours, planned.units, planned.apply)
        operands: dict[str, list[Tensor]] = {}
        for name, tensor in planned.tensors.items():
            inputs = [item.read().to(ours[name].dtype) for item in tensor.target.inputs]
            exact = [item.read().double() for item in tensor.target.inputs]
            based = tensor.method.uses_base
            wide[name] = tensor.method.merge(exact[0] if based else None, exact[based:], name=name)
            operands[name] = [*inputs, *([part - inputs[0] for part in inputs[1:]] if based else []), ours[name]]
        files = planned.small_files()
    settings = [json.loads(files["tokenizer.json"]), json.loads((out / "tokenizer.json").read_text())]
    ids = [found["model"]["vocab"] | {row["content"]: row["id"] for row in found["added_tokens"]} for found in settings]
    config, theirs_config = json.loads(files["config.json"]), json.loads((out / "config.json").read_text())
    assert config["vocab_size"] == theirs_config["vocab_size"], recipe
    return Pair(ours, theirs, wide, operands, (ids[0], ids[1]), "tokenizer" in recipe)


def compare(method: str, pair: Pair, seen: Seen, *, selecting: bool) -> None:
    """Hold one recipe to its limits."""
    seen.recipes += 1
    limit = 0.0 if method in EXACT else 1.0 if method in CLOSE else NEAR
    if pair.ours.keys() != pair.theirs.keys():
        seen.faults.append(f"other tensors: {sorted(pair.ours.keys() ^ pair.theirs.keys())}")
        return
    size = crossed = 0
    moved = apart_mass = 0.0
    for name, our in pair.ours.items():
        their, wide, operands = pair.theirs[name], pair.wide[name], pair.operands[name]
        if our.dtype != their.dtype or our.shape != their.shape:
            seen.faults.append(f"{name}: {our.dtype} {our.shape} against {their.dtype} {their.shape}")
            return
        if pair.aligned and name in ("model.embed_tokens.weight", "lm_head.weight"):
            order = list(range(len(our)))
            for token, number in pair.tokens[0].items():
                order[number] = pair.tokens[1][token]
            their = their[torch.tensor(order)]
        difference = our.double() - their.double()
        same_side = difference.abs() < (1e-6 if method in ACROSS else torch.inf)
        if selecting and method in MAGNITUDES:
            largest = torch.stack([operand.abs() for operand in operands]).amax(0)
            unit = torch.nextafter(largest, torch.full_like(largest, torch.inf)).double() - largest.double()
            same_side = difference.abs() <= limit * unit
        moved, apart_mass = (
            moved + (wide - operands[0]).abs().sum().item(),
            apart_mass + (difference.abs() * ~same_side).sum().item(),
        )
        size, crossed = size + our.numel(), crossed + int((~same_side).sum())
        apart, ours, theirs = (
            in_last_place(difference * same_side, operands)
            for difference in (difference, our.double() - wide, their.double() - wide)
        )
        if apart <= limit or max(ours, theirs) <= limit:
            seen.worst = max(seen.worst, apart)
            continue
        seen.ours, seen.theirs = max(seen.ours, ours), max(seen.theirs, theirs)
        if not (method in FURTHER or pair.aligned) or ours > NEAR or theirs <= limit:
            seen.faults.append(f"{name}: {apart:.2f} apart, {ours:.2f} and {theirs:.2f} from the exact value")
    seen.across = max(seen.across, crossed / size)
    seen.mass = max(seen.mass, apart_mass / max(moved, 1e-30))
    if max(crossed / size, seen.mass) > (TIES if selecting and method in MAGNITUDES else ACROSS.get(method, 0.0)):
        seen.faults.append(
            f"{crossed} of {size} entries, {seen.mass:.1e} of the mass, on the other side of a threshold"
        )


def grid(
    tmp_path: Path, listed: list[dict[str, Any]], folders: dict[str, Path], *, selecting: bool = False
) -> dict[str, Seen]:
    """Run recipes with both and return what was seen, by method."""
    documents = [placed(recipe, folders) for recipe in listed]
    outs = [tmp_path / f"out{i}" for i in range(len(documents))]
    theirs = [{key: value for key, value in document.items() if key != "mergebarrier"} for document in documents]
    mergekit_merge_all(list(zip(theirs, outs, strict=True)))
    seen: dict[str, Seen] = {}
    for document, out in zip(documents, outs, strict=True):
        item = seen.setdefault(document["merge_method"], Seen())
        before = len(item.faults)
        compare(document["merge_method"], run_both(document, out), item, selecting=selecting)
        item.faults[before:] = [f"{fault} in {json.dumps(document)}" for fault in item.faults[before:]]
    return seen


def told(seen: dict[str, Seen]) -> dict[str, Any]:
    """Return the figures of a grid."""
    return {
        name: {
            "recipes": s.recipes,
            "ulp": s.worst,
            "ours": s.ours,
            "theirs": s.theirs,
            "across": s.across,
            "mass": s.mass,
        }
        for name, s in sorted(seen.items())
    }


def faults(seen: dict[str, Seen]) -> list[str]:
    return [f"{method}: {fault}" for method, item in seen.items() for fault in item.faults]


@pytest.mark.parametrize(
    "tied", [pytest.param(False, id="untied", marks=pytest.mark.slow), pytest.param(True, id="tied")]
)
def test_float32_recipes_agree(tmp_path, tied, record_property) -> None:
    folders = {name: llama(tmp_path / name, seed, torch.float32, tied=tied) for seed, name in enumerate("xabc")}
    listed = list(recipes())
    seen = grid(tmp_path, listed, folders)
    record_property("grid", told(seen))
    assert sum(item.recipes for item in seen.values()) == len(listed) >= 60
    assert not faults(seen), "\n".join(faults(seen)[:20]) + f"\n{json.dumps(told(seen))}"


#: Inputs and dtypes asked for: the dtypes of x, a, b and c, dtype and out_dtype.
DTYPES = {
    "bfloat16": (("bfloat16",) * 4, None, None),
    "from bfloat16": (("bfloat16",) * 4, "float32", "bfloat16"),
    "to bfloat16": (("float32",) * 4, "bfloat16", None),
    "mixed": (("float32", "bfloat16", "float32", "float16"), None, None),
    "stored": (("float32",) * 4, None, "float16"),
    "wide": (("float32",) * 4, "float64", "float32"),
}
#: Methods that mergekit computes in the dtype that is asked for, which rounds after every step.
IN_DTYPE = ("task_arithmetic", "ties", "breadcrumbs")


@pytest.mark.parametrize("case", [pytest.param(case, marks=[pytest.mark.slow] * (case != "mixed")) for case in DTYPES])
def test_dtypes_agree(tmp_path, case, record_property) -> None:
    names, dtype, out_dtype = DTYPES[case]
    folders = {name: llama(tmp_path / name, seed, getattr(torch, names[seed])) for seed, name in enumerate("xabc")}
    asked = {key: value for key, value in (("dtype", dtype), ("out_dtype", out_dtype)) if value}
    narrow = "bfloat16" in (dtype, *names)
    listed = [{**recipe, **asked} for recipe in recipes() if recipe["merge_method"] in (*EXACT, *CLOSE)][::2]
    listed += [
        {**recipe, **asked, "mergebarrier": {"arith": "input"}}
        for recipe in recipes()
        if recipe["merge_method"] in IN_DTYPE
    ]
    seen = grid(tmp_path, listed, folders, selecting=narrow)
    record_property("grid", told(seen))
    assert sum(item.recipes for item in seen.values()) == len(listed) >= 18
    assert not faults(seen), "\n".join(faults(seen)[:20]) + f"\n{json.dumps(told(seen))}"


def test_vocabularies_are_brought_together_as_mergekit_does(tmp_path, record_property) -> None:
    added = {"a": (), "b": ("<|im_start|>", "<|im_end|>"), "c": ("<|im_end|>", "<pad>")}
    folders = {name: llama(tmp_path / name, seed, torch.float32, added=added[name]) for seed, name in enumerate("abc")}
    listed = list(with_vocabularies())
    seen = grid(tmp_path, listed, folders)
    record_property("grid", told(seen))
    assert sum(item.recipes for item in seen.values()) == len(listed) == 27
    assert not faults(seen), "\n".join(faults(seen)[:20])
