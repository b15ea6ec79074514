"""A recipe is read key by key; what is not known, not built or not possible is refused by its name."""

import pytest
import yaml

from mergebarrier.errors import BadRecipe
from mergebarrier.merge.recipe.recipe import ModelReference, parse

HEAD = "merge_method: linear\nmodels: [{model: a}, {model: b}]\n"
SLICE = "merge_method: linear\nslices: [{sources: [{model: a, layer_range: [0, 2]}]}]\n"


def read(text: str):
    return parse(text.encode(), "r.yaml")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be"])
def test_a_recipe_is_read_as_editors_and_shells_save_it(encoding) -> None:
    text = HEAD.replace("model: b", "model: modèle").replace("\n", "\r\n")
    data = ("\ufeff" if "16" in encoding else "") + text
    assert parse(data.encode(encoding), "r.yaml") == read(text)


def test_every_key_of_the_language_is_read() -> None:
    text = """
    merge_method: ties
    base_model: base
    models:
      - model: a
        parameters: {weight: [0.1, 1e-5], density: [{filter: mlp, value: 0.5}, {value: [0.2, 0.3]}]}
      - {model: {model: {path: b}}}
    parameters: {normalize: true}
    dtype: bfloat16
    out_dtype: torch.float16
    tokenizer: {source: base}
    chat_template: auto
    mergebarrier: {elect: unweighted, seed: 3}
    """
    recipe = read(text)
    assert (recipe.method, recipe.whole, recipe.dtype, recipe.out_dtype) == ("ties", True, "BF16", "F16")
    assert [reference.path for reference in recipe.references()] == ["base", "a", "b"]
    assert (recipe.tokenizer and recipe.tokenizer.source, recipe.chat_template, recipe.extra["seed"]) == (
        "base",
        "auto",
        3,
    )
    assert read(yaml.safe_dump(recipe.document(lambda reference: reference.text))) == recipe


@pytest.mark.parametrize(
    "body",
    [
        "slices:\n- sources: [{model: a, layer_range: [0, 2], parameters: {weight: 1}}]\n"
        "  parameters: {normalize: false}\n  base_model: c",
        "modules: {default: {models: [{model: a}], parameters: {weight: [1, 2]}}}",
        "modules: {text: {slices: [{sources: [{model: a, layer_range: [1, 3]}]}]}}\ntokenizer_source: a",
        "models: [{model: a}]\ntokenizer: {source: union, tokens: {x: {source: a, force: true}, "
        "y: {source: {kind: zero}}, z: {source: {kind: model_token, model: b, token_id: 3}}, w: {}}, "
        "pad_to_multiple_of: 8}",
        "models: [{model: a}]\ntokenizer_source: model:a",
        "modules: {x: {models: [{model: a}], parameters: {t: 1}}, "
        "y: {slices: [{sources: [{model: b, layer_range: [0, 1]}]}]}}",
    ],
)
def test_a_recipe_written_down_again_is_the_same(body) -> None:
    recipe = read("merge_method: linear\n" + body)
    assert read(yaml.safe_dump(recipe.document(lambda reference: reference.text))) == recipe


@pytest.mark.parametrize(
    ("value", "reference"),
    [
        ("a/b", ModelReference("a/b", "a/b")),
        ("a@main", ModelReference("a@main", "a", "main")),
        ("a+l", ModelReference("a+l", "a", None, "l")),
        ("a@r+l@s", ModelReference("a@r+l@s", "a", "r", "l", "s")),
        ("{model: {path: a, revision: r}}", ModelReference("a@r", "a", "r")),
        ("{model: a, lora: {path: l}}", ModelReference("a+l", "a", None, "l")),
        ("{model: a, lora: {path: l, revision: r}}", ModelReference("a+l@r", "a", None, "l", "r")),
    ],
)
def test_models_are_named_in_every_form(value, reference) -> None:
    assert read(f"merge_method: linear\nmodels: [{{model: {value}}}]").slices[0].sources[0].model == reference


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEAD + "merge_metod: x", r"MB3010 r\.yaml: unknown key 'merge_metod' \(did you mean 'merge_method'\?\)"),
        (HEAD + "dtype: BFloat16", "unknown dtype 'BFloat16' .did you mean 'bfloat16'"),
        (HEAD + "tokeniser: base", "unknown key 'tokeniser' .did you mean 'tokenizer'"),
        ("models: [{model: a}]", "merge_method is missing"),
        ("merge_method: linear", "this one has none of them"),
        (HEAD + "slices: []", "has models and slices"),
        ("merge_method: linear\nmodels: []", "models: not a list, or an empty one"),
        ("merge_method: linear\nmodels: a", "models: not a list"),
        ("merge_method: linear\nmodels: [{modle: a}]", r"models\[0\]: unknown key 'modle' .did you mean 'model'"),
        ("merge_method: linear\nmodels: [{parameters: {weight: 1}}]", r"models\[0\]: names no model"),
        ("merge_method: linear\nmodels: [{model: a+b+c}]", "too many"),
        ("merge_method: linear\nmodels: [{model: a@b@c}]", "too many"),
        ("merge_method: linear\nmodels: [{model: 3}]", r"models\[0\]\.model: 3 is not text"),
        (HEAD + "dtype: bf16", "unknown dtype 'bf16' .did you mean 'bfloat16'|unknown dtype 'bf16'"),
        (HEAD + "out_dtype: int64", "out_dtype: unknown dtype 'int64'"),
        (HEAD + "tokenizer: {source: a}\ntokenizer_source: a", "tokenizer and tokenizer_source mean the same"),
        (HEAD + "parameters: [1]", "parameters: not a table"),
        (HEAD + "parameters: {weight: []}", r"parameters\.weight: the value is an empty or mixed list"),
        (HEAD + "parameters: {weight: [1, {value: 2}]}", "the value is a table"),
        (HEAD + "parameters: {weight: " + "9" * 40 + "}", "the value is 999"),
        (HEAD + "parameters: {weight: null}", "the value is nothing"),
        (HEAD + "parameters: {weight: {filter: a}}", "a choice without a value"),
        (HEAD + "parameters: {weight: {filters: a, value: 1}}", "unknown key 'filters'"),
        (HEAD + "parameters: {weight: {filter: 1, value: 1}}", "the filter '1' is not text"),
        (HEAD + "mergebarrier: [a]", "mergebarrier: not a table"),
        (HEAD + "mergebarrier: {seed: [1]}", r"mergebarrier\.seed: the value is an empty or mixed list"),
        (SLICE.replace("[0, 2]", "[2, 2]"), "layer_range is"),
        (SLICE.replace("[0, 2]", "[-1, 2]"), "layer_range is"),
        (SLICE.replace("[0, 2]", "[0, 2, 3]"), "layer_range is"),
        (SLICE.replace("[0, 2]", "[0, true]"), "layer_range is"),
        (SLICE.replace(", layer_range: [0, 2]", ""), "layer_range is None"),
        (
            SLICE.replace("}]}]", "}, {model: b, layer_range: [0, 3]}]}]"),
            r"slices\[0\]: its sources have \[2, 3\] layers",
        ),
        ("merge_method: linear\nslices: [{sources: [], residual_weight: 1}]", "unknown key 'residual_weight'"),
        (
            "merge_method: linear\nmodules: {a: {models: [{model: a}]}, b: {models: []}}",
            r"modules\.b\.models: not a list",
        ),
        ("merge_method: linear\nmodules: {a: {}}", "needs either models or slices"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(text, says) -> None:
    with pytest.raises(BadRecipe, match=says):
        read(text)


def test_whole_numbers_may_stand_in_quotes_or_with_a_point() -> None:
    """As mergekit reads them, and as tools write them."""
    plain = parse((SLICE + "tokenizer: {pad_to_multiple_of: 64}\nrandom_seed: 7").encode(), "r")
    for layers, padding, seed in (("['0', '2']", "'64'", "'7'"), ("[0, 2.0]", "64.0", "7.0")):
        text = f"{SLICE.replace('[0, 2]', layers)}tokenizer: {{pad_to_multiple_of: {padding}}}\nrandom_seed: {seed}"
        assert parse(text.encode(), "r") == plain
    for layers in ("[0, 1.5]", "['0', 'b']", "[0, null]", "[0, '0x2']", "[0, .nan]", "[0, 1e300]"):
        with pytest.raises(BadRecipe, match="layer_range is"):
            parse(SLICE.replace("[0, 2]", layers).encode(), "r")
