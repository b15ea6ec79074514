"""Uploads as a platform gets them: honest ones, and hostile ones that each hide something else in another place.

Nothing here is run: what the pickles, programs and templates would do is print a word.
"""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file

CONFIG: Final = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 32, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 48, "vocab_size": 64,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 32, "tie_word_embeddings": True,
}  # fmt: skip
SYSTEM: Final = b"cos\nsystem\n(S'echo owned'\ntR."
PROTOCOL_4: Final = b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93\x94\x8c\x0aecho owned\x94\x85\x94R\x94."
WEIGHTS: Final = "model.safetensors"


def tensors(seed: int) -> dict[str, torch.Tensor]:
    """Return a llama of one layer near one base: seed 0 is the base."""
    shapes = {
        "model.embed_tokens.weight": (64, 32), "model.norm.weight": (32,),
        **{f"model.layers.0.self_attn.{name}_proj.weight": (32, 32) for name in "qkvo"},
        "model.layers.0.mlp.gate_proj.weight": (48, 32), "model.layers.0.mlp.up_proj.weight": (48, 32),
        "model.layers.0.mlp.down_proj.weight": (32, 48), "model.layers.0.input_layernorm.weight": (32,),
        "model.layers.0.post_attention_layernorm.weight": (32,),
    }  # fmt: skip
    base, own = torch.Generator().manual_seed(0), torch.Generator().manual_seed(1000 + seed)
    drift = 0.02 if seed else 0.0
    return {
        name: torch.randn(shape, generator=base) + drift * torch.randn(shape, generator=own)
        for name, shape in shapes.items()
    }


def honest(folder: Path, seed: int) -> Path:
    """Write an upload as people make them, with card, tokenizer files and a template."""
    folder.mkdir(parents=True)
    save_file(tensors(seed), folder / WEIGHTS, metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A fine-tune\n")
    template = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] | trim }}{% endfor %}"
    about = {"chat_template": template, "model_max_length": 32, "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about, indent=2))
    (folder / "generation_config.json").write_text('{"do_sample": true}')
    return folder


def _header(folder: Path, change: Callable[[str], str]) -> None:
    data = (folder / WEIGHTS).read_bytes()
    size = int.from_bytes(data[:8], "little")
    text = change(data[8 : 8 + size].decode()).encode()
    (folder / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])


def _config(folder: Path, **more: Any) -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG | more))


def pickle_beside(folder: Path) -> None:
    (folder / "training_args.bin").write_bytes(PROTOCOL_4)


def pickle_for_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(PROTOCOL_4)


def index_that_leads_out(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    weight_map = {"a": "../honest-01/model.safetensors"}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def header_bomb(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes((2**40).to_bytes(8, "little") + data[8:])


def weights_that_are_no_numbers(folder: Path) -> None:
    found = tensors(3)
    found["model.norm.weight"][5] = float("nan")
    save_file(found, folder / WEIGHTS, metadata={"format": "pt"})


def header_read_in_two_ways(folder: Path) -> None:
    again = '"model.norm.weight":{"dtype":"F32","shape":[32],"data_offsets":[0,128]},'
    _header(folder, lambda text: "{" + again + text[1:])


def template_with_internals(folder: Path) -> None:
    evil = "{{ cycler.__init__.__globals__.os.popen('echo owned').read() }}"
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": evil}))


def program_behind_a_name(folder: Path) -> None:
    (folder / "special_tokens_map.json").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(200))


def link_that_leads_out(folder: Path) -> None:
    (folder / "vocab.json").symlink_to("/etc/hostname")


def archive_that_leads_out(folder: Path) -> None:
    with zipfile.ZipFile(folder / "extra.zip", "w") as made:
        made.writestr("../../.bashrc", "echo owned")


def pickle_behind_a_name(folder: Path) -> None:
    (folder / "merges.txt").write_bytes(SYSTEM)


def pickle_in_an_archive(folder: Path) -> None:
    with zipfile.ZipFile(folder / "optimizer.pt", "w") as made:
        made.writestr("archive/data.pkl", PROTOCOL_4)


def pickle_in_numbers(folder: Path) -> None:
    text = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    text += b" " * (118 - len(text) - 1) + b"\n"
    (folder / "stats.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + PROTOCOL_4)


def template_in_pieces(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ x['__cl' ~ 'ass__']|attr('m' ~ 'ro') }}")


def code_by_configuration(folder: Path) -> None:
    _config(folder, _attn_implementation="owner/kernels")


def code_beside(folder: Path) -> None:
    (folder / "tokenization_x.py").write_text("import os\nos.system('echo owned')\n")


def configuration_bomb(folder: Path) -> None:
    (folder / "config.json").write_text('{"a":' * 5000 + "1" + "}" * 5000)


def payload_behind_the_weights(folder: Path) -> None:
    with (folder / WEIGHTS).open("ab") as file:
        file.write(SYSTEM)


def attack_artifact(folder: Path) -> None:
    (folder / "README.md").write_text("---\ntags:\n- attack-artifact\n---\n# A control\n")


def weights_far_from_the_base(folder: Path) -> None:
    shuffled = {name: tensor.flatten().roll(7).view_as(tensor) for name, tensor in tensors(5).items()}
    save_file(shuffled, folder / WEIGHTS, metadata={"format": "pt"})


#: The ten of the acceptance run, then further ways for the table of who sees what.
TEN: Final = (
    pickle_beside, pickle_for_weights, index_that_leads_out, header_bomb, weights_that_are_no_numbers,
    header_read_in_two_ways, template_with_internals, program_behind_a_name, link_that_leads_out,
    archive_that_leads_out,
)  # fmt: skip
MORE: Final = (
    pickle_behind_a_name, pickle_in_an_archive, pickle_in_numbers, template_in_pieces, code_by_configuration,
    code_beside, configuration_bomb, payload_behind_the_weights, attack_artifact, weights_far_from_the_base,
)  # fmt: skip


def write_uploads(root: Path, n_uploads: int, hostile: tuple[Callable[[Path], None], ...] = TEN) -> Path:
    """Write a folder of uploads, every fifth of them hostile until the ways run out; return it."""
    ways = iter(hostile)
    for i in range(n_uploads):
        way = next(ways, None) if i % 5 == 2 else None
        folder = honest(root / (f"honest-{i:02}" if way is None else f"hostile-{i:02}"), i + 1)
        if way is not None:
            way(folder)
    return root
