"""Gradients, filters and the order of levels give every tensor the value that the language says."""

from contextlib import ExitStack

import pytest
import torch

from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.errors import BadMergeParameter
from mergebarrier.merge import make
from mergebarrier.merge.recipe import plan
from mergebarrier.merge.recipe.recipe import parse
from mergebarrier.merge.recipe.values import evaluate, parse_setting
from recipe_models import layered


@pytest.mark.parametrize(
    ("value", "depth", "wanted"),
    [
        (0.5, 0.3, 0.5),
        ("1e-5", 0.0, 1e-5),
        ("-.5E+1", 0.0, -5.0),
        ("e5", 0.0, "e5"),
        ("1e", 0.0, "1e"),
        (True, 1.0, True),
        ([0, 1], 0.25, 0.25),
        ([0, 1, "1e1"], 0.5, 1.0),
        ([0, 1, 10], 0.75, 5.5),
        ([0, 1, 10], 1.0, 10.0),
        ([3], 0.7, 3),
        ([False, True], 0.99, False),
        ([False, True], 1.0, True),
        (["a", "b", "c"], 0.5, "b"),
    ],
)
def test_a_gradient_is_linear_in_depth_and_words_step(value, depth, wanted) -> None:
    assert evaluate(parse_setting(value, ""), "w", depth) == wanted


@pytest.mark.parametrize(
    ("name", "wanted"), [("x.mlp.up", 1.0), ("x.mlp.down", 1.0), ("x.attn.q", 2.0), ("x.norm", 3.0)]
)
def test_the_first_filter_that_matches_wins(name, wanted) -> None:
    rows = [{"filter": "mlp", "value": 1.0}, {"filter": "attn", "value": [2.0, 2.0]}, {"filter": "up", "value": 9.0}]
    assert evaluate(parse_setting([*rows, {"value": 3.0}], ""), name, 0.5) == wanted
    assert evaluate(parse_setting([*rows, {"filter": "*", "value": 3.0}, {"value": 4.0}], ""), name, 0.5) == wanted
    unmatched = evaluate(parse_setting(rows, ""), name, 0.5)
    assert unmatched == (None if wanted == 3.0 else wanted)


@pytest.fixture
def planned(save):
    """Return ``planned(text)``: the recipe laid over models base, a and b of three layers."""
    said = {"tie_word_embeddings": False, "num_hidden_layers": 3}
    folders = {name: save(name, layered(i), **said) for i, name in enumerate(("base", "a", "b"))}
    with ExitStack() as stack:
        opened = {name: stack.enter_context(open_checkpoint(folder)) for name, folder in folders.items()}

        def lay(text: str, **more):
            recipe = parse(text.encode(), "r.yaml")
            return plan(recipe, {reference: opened[reference.path] for reference in recipe.references()}, **more)

        yield lay


UP = "model.layers.{}.mlp.up_proj.weight"
MODELS = "models: [{model: a, parameters: {weight: 1}}, {model: b, parameters: {weight: 1}}]\n"
LEVELS = """
merge_method: linear
modules:
  default:
    slices:
      - sources:
          - {model: a, layer_range: [0, 2], parameters: {weight: [{filter: norm, value: 1}]}}
          - {model: b, layer_range: [0, 2]}
        parameters: {weight: [{filter: up_proj, value: 2}]}
      - sources: [{model: a, layer_range: [2, 3]}, {model: b, layer_range: [2, 3]}]
    parameters: {weight: [{filter: norm, value: 3}], normalize: false}
parameters: {weight: 4, normalize: true}
"""


def test_source_goes_before_slice_before_module_before_recipe(planned) -> None:
    tensors = planned(LEVELS).tensors
    wanted = {
        "model.layers.0.norm.weight": [1, 3],
        UP.format(1): [2, 2],
        UP.format(2): [4, 4],
        "model.layers.2.norm.weight": [3, 3],
        "model.norm.weight": [3, 3],
        "model.embed_tokens.weight": [4, 4],
    }
    assert {name: tensors[name].effective["weight"] for name in wanted} == wanted
    assert all(tensor.effective["normalize"] is False for tensor in tensors.values())
    assert tensors[UP.format(1)].method.weights == (2.0, 2.0)


def test_filters_of_a_model_see_its_own_names_and_those_of_the_recipe_the_outputs(planned) -> None:
    text = """
    merge_method: task_arithmetic
    base_model: base
    slices:
      - sources:
          - {model: base, layer_range: [0, 1]}
          - {model: a, layer_range: [2, 3], parameters: {weight: [{filter: layers.2, value: 5}, {value: 6}]}}
    parameters: {lambda: [{filter: layers.0, value: 0.5}, {value: 2}]}
    """
    tensors = planned(text).tensors
    assert tensors[UP.format(0)].effective == {"weight": [5], "lambda": 0.5}
    assert tensors["model.norm.weight"].effective == {"weight": [6], "lambda": 2}


def test_depth_runs_through_each_slice_and_is_zero_outside(planned) -> None:
    depths = {name: tensor.target.depth for name, tensor in planned("merge_method: linear\n" + MODELS).tensors.items()}
    assert [depths[UP.format(i)] for i in range(3)] == [0.0, 0.5, 1.0]
    assert depths["model.embed_tokens.weight"] == depths["lm_head.weight"] == depths["model.norm.weight"] == 0.0
    tensors = planned(LEVELS).tensors
    assert [tensors[UP.format(i)].target.depth for i in range(3)] == [0.0, 1.0, 1.0]


def test_words_of_the_language_reach_the_fields_of_the_method(planned) -> None:
    def method(name: str, parameters: str, more: str = "", **seed):
        text = f"merge_method: {name}\nbase_model: base\n{MODELS}parameters: {{{parameters}}}\n{more}"
        return planned(text, **seed).tensors[UP.format(0)].method

    ties = method("ties", "normalize: false, rescale: true, lambda: 1e-1, density: 0.5")
    assert (ties.reduce, ties.rescale, ties.coefficient, ties.density) == ("sum", "l1", 0.1, (0.5, 0.5))
    dare = method("dare_ties", "normalize: 1, rescale: 'false'", "mergebarrier: {elect: unweighted}", seed=9)
    assert (dare.reduce, dare.rescale, dare.elect, dare.seed) == ("weighted_mean", "none", "unweighted", 9)
    assert method("dare_linear", "normalize: true", "mergebarrier: {seed: 4, rescale: inverse}", seed=9).seed == 4
    assert method("linear", "normalize: false, weight: 1").normalize is False


def test_a_model_without_a_value_takes_the_default_of_the_method(planned) -> None:
    text = "merge_method: ties\nbase_model: base\n" + MODELS.replace("weight: 1}", "weight: 1, density: 0.5}", 1)
    assert planned(text).tensors[UP.format(0)].method.density == (0.5, 1.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("merge_method: linar\n" + MODELS, "unknown merge method .did you mean 'linear'"),
        ("merge_method: ties\n" + MODELS, "ties: needs the base model; add base_model"),
        ("merge_method: linear\nmodels: [{model: a}]", r"a: .*\.weight: weight is missing"),
        ("merge_method: slerp\n" + "models: [{model: a}, {model: b}]", "t is missing"),
        ("merge_method: linear\n" + MODELS + "parameters: {densty: 1}", "linear has no parameter 'densty'"),
        (
            "merge_method: linear\n" + MODELS + "parameters: {weights: 1}",
            "no parameter 'weights' .did you mean 'weight'",
        ),
        (
            "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1, normalize: true}}]",
            "holds for all models",
        ),
        (
            "merge_method: linear\n" + MODELS.replace("1}", "[1, -1]}", 1),
            r"linear, model\..*: the weights .* sum to zero",
        ),
        ("merge_method: linear\n" + MODELS.replace("1}", "abc}", 1), "linear, .*: weights is 'abc'"),
        ("merge_method: linear\n" + MODELS.replace("1}", ".nan}", 1), "weights is nan"),
        (
            "merge_method: ties\nbase_model: base\n" + MODELS + "parameters: {density: [0.5, 1.5]}",
            "density goes through 1.5",
        ),
        ("merge_method: ties\nbase_model: base\n" + MODELS + "parameters: {elect: unweighted}", "no parameter 'elect'"),
        ("merge_method: linear\n" + MODELS + "mergebarrier: {elect: unweighted}", "elect is not built yet, or nothing"),
        ("merge_method: linear\n" + MODELS + "mergebarrier: {sed: 3}", "unknown key 'sed' under mergebarrier .*'seed'"),
        ("merge_method: slerp\nmodels: [{model: a}]\nparameters: {t: 0.5}", "got 1 experts, takes exactly 2"),
    ],
)
def test_a_parameter_that_cannot_be_is_refused_with_method_and_tensor(planned, text, says) -> None:
    with pytest.raises(BadMergeParameter, match=says):
        planned(text)


def test_what_has_no_effect_is_noted_once(planned) -> None:
    text = "merge_method: task_arithmetic\nbase_model: base\n" + MODELS + "parameters: {int8_mask: true, density: 0.5}"
    notes = planned(text).notes
    assert notes == ("int8_mask has no effect on task_arithmetic", "density has no effect on task_arithmetic")


def test_a_word_of_another_method_is_noted_and_a_word_of_none_refused(planned) -> None:
    text = "merge_method: slerp\nbase_model: a\n" + MODELS + "parameters: {t: 0.5, density: 0.3, max_iter: 3}"
    notes = planned(text).notes
    assert [f"{word} has no effect on slerp" for word in ("density", "max_iter", "weight")] == sorted(notes)


@pytest.mark.parametrize(("depth", "wanted"), [(0.0, True), (0.5, True), (1.0, False)])
def test_ends_of_a_gradient_of_a_flag_are_flags(depth, wanted) -> None:
    assert evaluate(parse_setting([1, 0], ""), "w", depth, flag=True) is wanted


@pytest.mark.parametrize(
    ("dtypes", "wanted"),
    [(("F16", "BF16"), "F32"), (("BF16", "F32"), "F32"), (("F32", "F64"), "F64"), (("BF16",), "BF16")],
)
def test_without_a_dtype_the_output_is_as_wide_as_its_inputs(save, dtypes, wanted) -> None:
    torch_dtypes = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
    models = [layered(i, dtype=torch_dtypes[dtype]) for i, dtype in enumerate(dtypes)]
    folders = [save(f"m{i}", model, tie_word_embeddings=False) for i, model in enumerate(models)]
    text = f"merge_method: linear\nmodels: {[{'model': str(f)} for f in folders]}\nparameters: {{weight: 1}}"
    with ExitStack() as stack:
        recipe = parse(text.encode(), "recipe")
        opened = {ref: stack.enter_context(open_checkpoint(ref.path)) for ref in recipe.references()}
        made = plan(recipe, opened)
    assert {tensor.stored for tensor in made.tensors.values()} == {wanted}
    assert made.config is None if wanted == dtypes[0] else made.config is not None and made.config["dtype"]
    name = "model.norm.weight"
    unit = next(unit for unit in made.units if name in unit.tensors)
    merged = made.apply(unit, [{key: model[key] for key in unit.tensors} for model in models])[name]
    exact = sum(model[name].double() for model in models) / len(models)
    assert merged.dtype == torch_dtypes[wanted] and torch.allclose(merged.double(), exact, atol=1e-6)


@pytest.mark.parametrize(("rescale", "order"), [("l1", 1), ("l2", 2), ("linf", torch.inf)])
def test_a_rescale_restores_the_norm_it_names(rescale, order) -> None:
    base, expert = (torch.randn(40, 7, generator=torch.Generator().manual_seed(i)).double() for i in range(2))
    for name in ("dare_linear", "breadcrumbs"):
        merged = make(name, density=0.4, rescale=rescale).merge(base, [expert], name="w")
        norms = [torch.linalg.vector_norm(tensor - base, order).item() for tensor in (merged, expert)]
        assert norms[0] == pytest.approx(norms[1], rel=1e-12)


@pytest.mark.parametrize("where", ["models", "shared"])
def test_an_end_of_a_gradient_that_is_out_of_range_is_refused_where_no_layer_meets_it(planned, where) -> None:
    gradient = "{filter: layers.1., value: [-1.0, 2.0]}"
    own, shared = (gradient, "1.0") if where == "models" else ("1.0", gradient)
    text = f"""
merge_method: ties
base_model: base
models: [{{model: a, parameters: {{weight: 1, density: {own}}}}}, {{model: b, parameters: {{weight: 1}}}}]
parameters: {{density: {shared}}}
"""
    with pytest.raises(BadMergeParameter, match="density goes through -1; give a number"):
        planned(text)
