"""mergekit 0.1.5 stops at the shapes of a widened model, whatever the method, and writes no merge of it."""

import pytest

import tiny_models
from mergebarrier import verbs
from mergebarrier.checkpoint import open_checkpoint
from mergebarrier.keys import Key
from mergebarrier.protect import Widen
from peer_mergekit import mergekit_merge

pytestmark = pytest.mark.real


@pytest.mark.parametrize(
    "method", ["linear", *(pytest.param(one, marks=pytest.mark.slow) for one in ("task_arithmetic", "slerp"))]
)
def test_the_stock_merger_refuses_a_widened_model_by_shape(method, tmp_path):
    base = tiny_models.save("llama-gqa-untied", tmp_path / "base")
    partner = tiny_models.save_expert("llama-gqa-untied", tmp_path / "partner")
    with open_checkpoint(tiny_models.save_expert("llama-gqa-untied", tmp_path / "expert", task=2)) as source:
        verbs.protect(source, Widen(), Key(bytes([1]) * 32), verbs.OutputOptions(tmp_path / "wide"))
    own = {} if method == "slerp" else {"parameters": {"weight": 0.5}}
    recipe = {"merge_method": method, "models": [{"model": str(tmp_path / one), **own} for one in ("wide", "partner")]}
    if method != "linear":
        recipe["base_model"] = str(base if method == "task_arithmetic" else tmp_path / "wide")
    if method == "slerp":
        recipe["parameters"] = {"t": 0.5}
    with pytest.raises(AssertionError, match=r"(?i)size|shape"):
        mergekit_merge(recipe, tmp_path / "merged")
    assert not list((tmp_path / "merged").glob("*.safetensors"))
    assert partner.is_dir()
