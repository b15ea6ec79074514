"""Mutants of every file that a stranger may hand us: seeds, changes of bytes and of JSON, what reads them.

Everything is drawn from the number of the mutant, so that a failure is one number to run again.
"""

import io
import json
import random
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from made_up import made_up_result, made_up_rows
from mergebarrier.report import write_report
from model_folders import pack, safetensors_bytes, write_folder
from tiny_tokenizer import add_tokenizer

CONFIG = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 12, "vocab_size": 96,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 32, "hidden_act": "silu",
    "tie_word_embeddings": True,
}  # fmt: skip
CARD = "---\nlicense: apache-2.0\nbase_model:\n- a/b\ntags:\n- x\n---\n# A model\n"
RECIPE = """merge_method: ties
base_model: {base}
models:
- model: {base}
  parameters:
    weight: [0.5, 1.0]
- model: {model}
  parameters:
    density: 0.5
    weight:
    - filter: mlp
      value: 0.3
    - value: 1
dtype: float32
"""
TASK = "".join(json.dumps({"prompt": f"p{i}", "answer": "a"}) + "\n" for i in range(4))
INNER = b"\x80\x04\x8c\x05torch\x94\x8c\x04Size\x94\x93\x94K\x03\x85\x94R\x94."


def llama(seed: int = 0) -> dict[str, torch.Tensor]:
    """The tensors of a llama of one layer."""
    make = torch.Generator().manual_seed(seed)
    shapes = {
        "model.embed_tokens.weight": (96, 8), "model.norm.weight": (8,),
        **{f"model.layers.0.self_attn.{name}_proj.weight": (8, 8) for name in "qkvo"},
        "model.layers.0.mlp.gate_proj.weight": (12, 8), "model.layers.0.mlp.up_proj.weight": (12, 8),
        "model.layers.0.mlp.down_proj.weight": (8, 12), "model.layers.0.input_layernorm.weight": (8,),
        "model.layers.0.post_attention_layernorm.weight": (8,),
    }  # fmt: skip
    return {name: torch.randn(shape, generator=make) for name, shape in shapes.items()}


@dataclass(frozen=True)
class Target:
    """A kind of file.

    Attributes:
      name:     of the kind.
      file:     that is changed, below the corpus.
      commands: that read it, as words; {root} is the copy of the corpus, {out} a folder that does not exist.
      structured: whether changes of JSON are tried besides changes of bytes.
    """

    name: str
    file: str
    commands: tuple[tuple[str, ...], ...]
    structured: bool = True


_SCAN = ("scan", "{root}/model", "--base", "{root}/base", "--json")
_LOOK = ("inspect", "{root}/model", "--json")
_PLAN = ("protect", "{root}/model", "-o", "{out}", "--dry-run")
_UNDO = ("unprotect", "{root}/protected", "--key", "{root}/owner.mbkey", "-o", "{out}")
_RECIPE = ("merge", "{root}/recipe.yaml", "--explain")
_MERGE = ("merge", "{root}/recipe.yaml", "-o", "{out}")
TARGETS = (
    Target("header", "model/model.safetensors", (_LOOK, _SCAN, _MERGE)),
    Target("index", "sharded/model.safetensors.index.json", (("inspect", "{root}/sharded", "--json"),)),
    Target("config", "model/config.json", (_LOOK, _PLAN, _SCAN, _MERGE)),
    Target("adapter", "adapter/adapter_config.json", (("scan", "{root}/adapter", "--base", "{root}/base"),)),
    Target("factors", "adapter/adapter_model.safetensors", (("scan", "{root}/adapter"),)),
    Target("tokenizer", "model/tokenizer_config.json", (_SCAN, _LOOK)),
    Target("recipe", "recipe.yaml", (_RECIPE, _MERGE)),
    Target("key", "owner.mbkey", (_UNDO,)),
    Target("manifest", "protected/mergebarrier.json", (_UNDO, ("inspect", "{root}/protected", "--json"))),
    Target("card", "model/README.md", (_SCAN, _MERGE), False),
    Target("task", "task.jsonl", (("evaluate", "{root}/base", "--task", "{root}/task.jsonl"),)),
    Target("report", "report/result.json", (("report", "{root}/report", "--format", "md"),)),
    Target("rows", "report/rows.jsonl", (("report", "{root}/report", "--format", "sarif"),), False),
    Target("baseline", "known.json", (("scan", "{root}/model", "--baseline", "{root}/known.json"),)),
    Target("archive", "zipped/a.zip", (("scan", "{root}/zipped"),), False),
    Target("template", "zipped/chat_template.jinja", (("scan", "{root}/zipped"),), False),
)


def corpus(root: Path, run: Callable[..., Any]) -> Path:
    """Write the seeds: models, an adapter, a protected model with its key, a recipe, a task, a report, an archive."""
    for name, seed in (("base", 0), ("model", 1)):
        sides = {"README.md": CARD, "tokenizer_config.json": '{"chat_template": "{{ messages[0] }}", "a": 1}'}
        write_folder(root / name, llama(seed), config=CONFIG, side_files=sides)
    names = list(llama())
    write_folder(root / "sharded", llama(2), shards=[names[:4], names[4:]], config=CONFIG)
    factors = {
        f"base_model.model.model.layers.0.self_attn.{name}_proj.lora_{side}.weight": torch.ones(shape)
        for name in "qv"
        for side, shape in (("A", (2, 8)), ("B", (8, 2)))
    }
    (root / "adapter").mkdir()
    (root / "adapter" / "adapter_model.safetensors").write_bytes(safetensors_bytes(factors))
    about = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"], "bias": "none"}
    (root / "adapter" / "adapter_config.json").write_text(json.dumps(about | {"base_model_name_or_path": "x"}))
    done = run("protect", root / "model", "--key", root / "owner.mbkey", "-o", root / "protected")
    assert done.exit_code == 0, done.stderr
    (root / "recipe.yaml").write_text(RECIPE.format(base=root / "base", model=root / "model"))
    (root / "task.jsonl").write_text(TASK)
    add_tokenizer(root / "base")
    (root / "report").mkdir()
    write_report(root / "report", made_up_result(), made_up_rows())
    (root / "known.json").write_text(run("scan", root / "model", "--json").stdout)
    write_folder(root / "zipped", llama(3), config=CONFIG)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("archive/notes.txt", b"hello")
    (root / "zipped" / "a.zip").write_bytes(out.getvalue())
    (root / "zipped" / "chat_template.jinja").write_text("{% for m in messages %}{{ m['role'] }}{% endfor %}")
    return root


_ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, 2**64, 10**30, -(2**63), 0.5, -0.0, 1e308, "", "x" * 600,
    "\x00", "../x", "/etc/passwd",
    "\u202e\x1b[31m", "é", [], {}, [[]], [None], {"": ""}, "BF16", "F8_E4M3", "BOOL", "I64", "C64", "nan",
)  # fmt: skip
_PIECES = (
    b"NaN", b"-Infinity", b"1e999", b"\xff\xfe", b"\x00", b"{" * 40, b"[" * 2000, b'"\\ud800"', b"9" * 5000, b"\\u0061",
    b"!!python/object/apply:os.system", b"&a [*a]", b"<<: *x", b"\r\n", b"%", b"{{", b"}}", b"__class__", b"\xf0\x9f",
)  # fmt: skip


def _nodes(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of everything in a JSON value."""
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += _nodes(item, (*path, key))
    return found


def _change_json(document: Any, draw: random.Random) -> Any:
    """Replace, remove, rename or repeat one thing in a JSON value."""
    paths = _nodes(document)[1:]
    if not paths:
        return draw.choice(_ODD)
    *way, last = draw.choice(paths)
    parent = document
    for key in way:
        parent = parent[key]
    what = draw.randrange(5)
    if what == 0:
        del parent[last]
    elif what == 1 and isinstance(parent, dict):
        parent[draw.choice(("", "x", "__metadata__", "auto_map", "\x1b", str(last).upper()))] = parent.pop(last)
    elif what == 2 and isinstance(parent, list):
        parent += [parent[last]] * draw.choice((1, 2, 2000))
    elif what == 3 and isinstance(parent[last], int | float):
        parent[last] = draw.choice((-parent[last], parent[last] + 1, parent[last] * 2**40, str(parent[last])))
    else:
        parent[last] = draw.choice(_ODD)
    return document


def _change_bytes(data: bytes, draw: random.Random) -> bytes:
    """Flip, cut, repeat, insert or swap some bytes."""
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        at, to = sorted(draw.randrange(len(data) + 1) for _ in range(2))
        what = draw.randrange(6)
        if what == 0 and at < len(data):
            data = data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]
        elif what == 1:
            data = data[:at] if draw.random() < 0.5 else data[:at] + data[to:]
        elif what == 2:
            data = data[:to] + data[at:to] * draw.choice((1, 1, 50)) + data[to:]
        elif what == 3:
            data = data[:at] + draw.choice(_PIECES) + data[at:]
        elif what == 4:
            data = data[:at] + data[to:] + data[at:to]
        else:
            data = data[:at] + draw.choice(_PIECES) + data[to:]
        if not data:
            break
    return data


def mutant(target: Target, seed: bytes, draw: random.Random) -> bytes:
    """Return the changed bytes of a seed file."""
    if not target.structured or draw.random() < 0.4:
        return _change_bytes(seed, draw)
    if target.file.endswith(".safetensors"):
        size = int.from_bytes(seed[:8], "little")
        text = json.dumps(_change_json(json.loads(seed[8 : 8 + size]), draw)).encode()
        return pack(text, seed[8 + size :], n=draw.choice((None, None, None, 0, len(text) + 1, 2**63, 2**24 + 1)))
    if target.file.endswith(".jsonl"):
        lines = [json.loads(line) for line in seed.splitlines()]
        return b"".join(json.dumps(_change_json(line, draw)).encode() + b"\n" for line in lines)
    document = yaml.safe_load(seed) if target.file.endswith(".yaml") else json.loads(seed)
    return json.dumps(_change_json(document, draw)).encode()


def place(root: Path, out: Path, number: int) -> tuple[Target, tuple[str, ...], Path, bytes]:
    """Put mutant ``number`` in its place in the corpus; return what reads it, the changed file, and the seed."""
    draw = random.Random(number)
    target = TARGETS[number % len(TARGETS)]
    file = root / target.file
    seed = file.read_bytes()
    file.write_bytes(mutant(target, seed, draw))
    command = draw.choice(target.commands)
    shutil.rmtree(out, ignore_errors=True)
    return target, tuple(word.format(root=root, out=out) for word in command), file, seed
