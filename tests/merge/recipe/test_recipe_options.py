"""What may differ between models when it is asked for, models out of the hub's cache, templates, mergekit's flags."""

import json

import jinja2
import pytest
import torch
import yaml
from safetensors.torch import load_file

from mergebarrier.cli._mergekit import MERGEKIT_FLAGS, flag_named
from mergebarrier.cli.merge import command
from mergebarrier.merge.recipe.templates import TEMPLATES
from recipe_models import layered

EMBED, HEAD, UP = "model.embed_tokens.weight", "lm_head.weight", "model.layers.1.mlp.up_proj.weight"
HUB = "models--owner--tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def write(tmp_path):
    """``write(folders) -> recipe``: the mean of models, the first of them the base."""

    def make(*folders, **more: object):
        models = [{"model": str(folder), "parameters": {"weight": 0.5}} for folder in folders]
        path = tmp_path / "recipe.yaml"
        path.write_text(
            yaml.safe_dump({"merge_method": "linear", "base_model": str(folders[0]), "models": models, **more})
        )
        return path

    return make


def test_untie_writes_the_head_of_tied_models_from_their_embedding(run_cli, save, write, tmp_path) -> None:
    tied, untied = layered(0), layered(1)
    del tied[HEAD]
    for order, name in (("tu", "one"), ("ut", "two"), ("tt", "three")):
        other = save(name + "t", tied, num_hidden_layers=3)
        end, tensors, more = ("u", untied, {"tie_word_embeddings": False}) if "u" in order else ("v", tied, {})
        second = save(name + end, tensors, num_hidden_layers=3, **more)
        path = write(*((other, second) if order[0] == "t" else (second, other)))
        if "u" in order:
            ran = run_cli("merge", path, "-o", tmp_path / "no")
            assert ran.exit_code == 2 and "--untie" in ran.stderr
        assert run_cli("merge", path, "--untie", "-o", tmp_path / name).exit_code == 0
        found = load_file(tmp_path / name / "model.safetensors")
        head = untied[HEAD] if "u" in order else tied[EMBED]
        assert torch.allclose(found[HEAD], (tied[EMBED] + head) / 2, atol=1e-6)
        assert json.loads((tmp_path / name / "config.json").read_text())["tie_word_embeddings"] is False
        folders = (other, second) if order[0] == "t" else (second, other)
        ran = run_cli("merge", *folders, "--method", "linear", "--untie", "-o", tmp_path / f"{name}-flags")
        assert ran.exit_code == 0, ran.stderr
        same = load_file(tmp_path / f"{name}-flags" / "model.safetensors")
        assert same.keys() == found.keys() and torch.allclose(same[HEAD], found[HEAD], atol=1e-6)
        config = json.loads((tmp_path / f"{name}-flags" / "config.json").read_text())
        assert config["tie_word_embeddings"] is False
        rows = "".join(f"  - sources: [{{model: {one}, layer_range: [0, 2]}}]\n" for one in folders)
        path.write_text(f"merge_method: passthrough\nslices:\n{rows}")
        assert run_cli("merge", path, "--untie", "-o", tmp_path / f"{name}-slices").exit_code == 0
        head = (untied if "u" in order and order[1] == "u" else tied)[HEAD if order[1] == "u" else EMBED]
        assert load_file(tmp_path / f"{name}-slices" / "model.safetensors")[HEAD].equal(head)


def test_a_head_beside_the_embedding_counts_and_a_family_names_its_own(run_cli, save, tmp_path) -> None:
    """As stock classes read them: a tied model that stores another head has that head; Whisper's is proj_out."""
    model = layered(0)
    folder = save("other", model, tie_word_embeddings=True)
    assert run_cli("merge", folder, "--method", "linear", "--untie", "-o", tmp_path / "out").exit_code == 0
    assert load_file(tmp_path / "out" / "model.safetensors")[HEAD].equal(model[HEAD])
    embedding = "model.decoder.embed_tokens.weight"
    more = {"architectures": ["WhisperForConditionalGeneration"], "vocab_size": 10, "tie_word_embeddings": True}
    whisper = save("whisper", {embedding: model[EMBED]}, model_type="whisper", **more)
    ran = run_cli("merge", whisper, "--method", "linear", "--untie", "-o", tmp_path / "w")
    assert ran.exit_code == 0 and "there is no head" not in ran.stderr, ran.stderr
    assert load_file(tmp_path / "w" / "model.safetensors").keys() == {embedding, "proj_out.weight"}


def test_what_an_expert_has_beyond_the_others_is_dropped_when_asked(run_cli, save, write, tmp_path) -> None:
    more = {"model.layers.0.self_attn.q_norm.weight": torch.ones(3), "model.extra.0.weight": torch.ones(2, 2)}
    folders = save("base", layered(0)), save("expert", layered(1) | more)
    path = write(*folders)
    ran = run_cli("merge", path, "-o", tmp_path / "no")
    assert ran.exit_code == 2 and "or leave these out: --extra drop" in ran.stderr
    for words in ((path,), (*folders, "--method", "linear")):
        ran = run_cli("merge", *words, "--extra", "drop", "-o", tmp_path / "out", "--overwrite")
        assert ran.exit_code == 0 and "expert: 2 tensors" in ran.stderr and "left out" in ran.stderr, ran.stderr
        assert load_file(tmp_path / "out" / "model.safetensors").keys() == layered(0).keys()


def test_a_tensor_that_a_model_lacks_is_taken_from_the_base_when_asked(run_cli, save, write, tmp_path) -> None:
    base, expert = layered(0), layered(1)
    del expert[UP]
    path = write(save("base", base), save("expert", expert))
    ran = run_cli("merge", path, "-o", tmp_path / "no")
    assert ran.exit_code == 2 and f"lacks 1 tensors ({UP})" in ran.stderr
    ran = run_cli("merge", path, "--missing", "base", "-o", tmp_path / "out")
    assert ran.exit_code == 0 and f"expert lacks 1 tensors, taken from the base: {UP}" in ran.stderr
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(found[UP], base[UP])
    assert torch.allclose(found[EMBED], (base[EMBED] + expert[EMBED]) / 2, atol=1e-6)
    odd = UP.replace("up_proj", "odd")
    more = save("more", {**base, odd: torch.zeros(2)})
    for words in (("--missing", "base"), ()):
        ran = run_cli("merge", write(tmp_path / "base", more), *words, "-o", tmp_path / "no")
        assert ran.exit_code == 2 and f"has 1 tensors ({odd})" in ran.stderr, ran.stderr


def test_shards_are_filled_to_the_size_asked_for(run_cli, save, write, tmp_path) -> None:
    path = write(save("base", layered(0)), save("expert", layered(1)))
    assert run_cli("merge", path, "-o", tmp_path / "one").exit_code == 0
    for option, size, name in (("--max-shard-size", "600", "few"), ("--out-shard-size", "150", "same")):
        assert run_cli("merge", path, option, size, "-o", tmp_path / name).exit_code == 0
        shards = sorted((tmp_path / name).glob("*.safetensors"))
        found = {key: tensor for shard in shards for key, tensor in load_file(shard).items()}
        whole = load_file(tmp_path / "one" / "model.safetensors")
        assert len(shards) > 1 and found.keys() == whole.keys()
        assert all(torch.equal(found[key], whole[key]) for key in whole)
    few, same = (sorted(file.name for file in (tmp_path / name).glob("*.safetensors")) for name in ("few", "same"))
    assert few == same, "150 parameters are 600 bytes of float32"


def test_a_shard_of_mergekit_is_counted_in_parameters(run_cli, save, write, tmp_path) -> None:
    path = write(save("base", layered(0)), save("expert", layered(1)))
    for number, size in enumerate(("5B", "1m", "1K")):
        assert run_cli("merge", path, "--out-shard-size", size, "-o", tmp_path / f"{number}").exit_code == 0
        assert len([*(tmp_path / f"{number}").glob("*.safetensors")]) == 1, size
    for words, says in (
        (("--out-shard-size", "4G"), "'--out-shard-size': '4G' is not a number of parameters such as 5B"),
        (("--out-shard-size", "0"), "is not a number of parameters"),
        (("--out-shard-size", "5B", "--max-shard-size", "4G"), "in parameters instead of bytes; leave one out"),
    ):
        ran = run_cli("merge", path, *words, "-o", tmp_path / "no")
        assert ran.exit_code == 64 and says in ran.stderr and not (tmp_path / "no").exists(), ran.stderr


def test_names_of_the_hub_are_found_in_its_cache_and_nowhere_else(run_cli, save, write, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    base = save("base", layered(0))
    cached = tmp_path / "hub" / HUB
    ran = run_cli("merge", write(base, "owner/tiny"), "-o", tmp_path / "no")
    assert ran.exit_code == 2 and f"no snapshot 'main' in the cache, tried {tmp_path}" not in ran.stderr
    assert "no snapshot 'main' in the cache" in ran.stderr and str(cached) in ran.stderr
    (cached / "snapshots").mkdir(parents=True)
    save("expert", layered(1)).rename(cached / "snapshots" / COMMIT)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(COMMIT)
    for number, name in enumerate(("owner/tiny", "owner/tiny@main", f"owner/tiny@{COMMIT}")):
        ran = run_cli("merge", write(base, name), "-o", tmp_path / f"out{number}")
        assert ran.exit_code == 0, ran.stderr
    for name in ("owner/tiny@v2", "owner/tiny@../../..", "owner/..", "../owner", "a/b/c"):
        ran = run_cli("merge", write(base, name), "-o", tmp_path / "no")
        assert ran.exit_code == 2 and "no such folder" in ran.stderr and ran.stderr.count("\n") == 1, ran.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--allow-crimes",), "--allow-crimes: is an option of mergekit that has no meaning here"),
        (("--lora-merge-cache", "x"), "--lora-merge-cache: is an option of mergekit"),
        (("--multi-gpu",), "--multi-gpu: is an option of mergekit"),
        (("--async-write",), "--async-write: is an option of mergekit"),
        (("--no-copy-tokenizer",), "--no-copy-tokenizer: is an option of mergekit"),
        (("--cuda",), "--cuda: is an option of mergekit that has no meaning here: merging is done by the processor"),
        (("--lazy-unpickle",), "--lazy-unpickle: is an option of mergekit"),
        (("--trust-remote-code",), "--trust-remote-code: is an option of mergekit"),
        (("--transformers-cache", "x"), "set HF_HUB_CACHE"),
        (("-j", "4"), "give --threads N"),
    ],
)
def test_flags_of_mergekit_are_refused_by_their_name(run_cli, save, write, tmp_path, words, says) -> None:
    path = write(save("base", layered(0)), save("expert", layered(1)))
    ran = run_cli("merge", path, *words, "-o", tmp_path / "out")
    assert ran.exit_code == 64 and says in ran.stderr and not (tmp_path / "out").exists(), ran.stderr


#: The options of ``mergekit-yaml`` of mergekit 0.1.5, as ``main.params`` lists them.
OF_MERGEKIT = """
--allow-crimes --no-allow-crimes --unsafe-truncate-embeddings --no-unsafe-truncate-embeddings --transformers-cache
--lora-merge-cache --lora-merge-dtype --cuda --no-cuda --device --low-cpu-memory --no-low-cpu-memory --out-shard-size
--copy-tokenizer --no-copy-tokenizer --clone-tensors --no-clone-tensors --trust-remote-code --no-trust-remote-code
--random-seed --lazy-unpickle --no-lazy-unpickle --write-model-card --no-write-model-card --safe-serialization
--no-safe-serialization -v --quiet --no-quiet --read-to-gpu --no-read-to-gpu --multi-gpu --no-multi-gpu --num-threads -j
--gpu-rich --async-write --no-async-write --write-threads
""".split()


def test_every_flag_of_mergekit_is_in_the_table_and_on_the_command() -> None:
    assert sorted(map(flag_named, MERGEKIT_FLAGS)) == sorted(OF_MERGEKIT)
    words = [word for option in command.params for word in (*option.opts, *option.secondary_opts)]
    assert set(OF_MERGEKIT) <= set(words)
    assert all(words.count(flag) == 1 for flag in OF_MERGEKIT)


def test_a_flag_that_asks_for_what_is_done_anyway_changes_nothing(run_cli, save, write, tmp_path) -> None:
    path = write(save("base", layered(0)), save("expert", layered(1)))
    always = [flag_named(name) for name, reply in MERGEKIT_FLAGS.items() if reply == "always"]
    digests = [
        run_cli("merge", path, *words, "-o", tmp_path / name, "--json").json["content_digest"]
        for name, words in (("plain", ()), ("same", always))
    ]
    assert len(always) > 10 and digests[0] == digests[1]


def test_an_output_folder_beside_a_recipe_is_answered_with_the_right_command(run_cli, save, write, tmp_path) -> None:
    path = write(save("base", layered(0)), save("expert", layered(1)))
    ran = run_cli("merge", path, tmp_path / "out")
    assert ran.exit_code == 64 and "a recipe takes its output folder by -o" in ran.stderr
    assert f"mergebarrier merge {path} -o {tmp_path / 'out'}" in ran.stderr


def test_flags_of_mergekit_that_have_a_meaning_keep_it(run_cli, save, write, tmp_path) -> None:
    folders = save("base", layered(0)), save("expert", layered(1))
    path = write(*folders, merge_method="dare_linear", parameters={"density": 0.5})
    digests = []
    for name, words in (("a", ("--seed", "7")), ("b", ("--random-seed", "7", "--copy-tokenizer"))):
        digests.append(run_cli("merge", path, *words, "-o", tmp_path / name, "--json").json["content_digest"])
    assert digests[0] == digests[1]
    ran = run_cli("merge", *folders, "--method", "linear", "--max-shard-size", "1M", "-o", tmp_path / "c")
    assert ran.exit_code == 64 and "--max-shard-size: works only with a recipe" in ran.stderr


CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Yo"},
    {"role": "user", "content": "Bye"},
]
RENDERED = {
    "alpaca": "Be brief.\n\n### Instruction:\nHi\n\n### Response:\nYo</s>\n\n### Instruction:\nBye\n\n### Response:\n",
    "chatml": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYo"
    "<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
    "llama3": "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user"
    "<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nYo<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "mistral": "<s>[INST] Be brief.\n\nHi [/INST] Yo</s>[INST] Bye [/INST]",
    "exaone": "[|system|]Be brief.[|endofturn|]\n[|user|]Hi\n[|assistant|]Yo[|endofturn|]\n[|user|]Bye\n[|assistant|]",
}


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_built_in_templates_render_the_published_form(name) -> None:
    template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(TEMPLATES[name])
    words = {"bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True}
    assert template.render(messages=CONVERSATION, **words) == RENDERED[name]
