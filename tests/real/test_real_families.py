"""Trained models of three families: protected, verified, undone and realigned, judged by what they compute."""

import pytest

import real_models

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.mark.parametrize("profile", ["lossless", "full"])
@pytest.mark.parametrize("name", real_models.MODELS)
def test_a_trained_model_computes_the_same_and_is_found_again(name, profile, tmp_path):
    found = real_models.figures(name, profile, tmp_path)
    assert found.equal and found.cosine >= 0.99999 and found.error < 1e-5 and found.realigned >= 0.99999
    assert found.restored <= (0 if profile == "lossless" else 1e-6)
    assert found.before < 0.1 and found.after > 0.999 and found.keys < 0.05
    assert found.alone == 0 and (profile == "full" or found.left == 0)
