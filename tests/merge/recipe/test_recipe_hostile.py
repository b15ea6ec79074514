"""A recipe is data from a stranger: what could make it more than data is refused, soon and with its line."""

import time

import pytest

from mergebarrier.errors import BadRecipe, LimitExceeded, MergebarrierError
from mergebarrier.merge.recipe.recipe import MAX_RECIPE_BYTES, parse

HEAD = "merge_method: linear\nmodels: [{model: a}]\n"
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, r"line 5: more than 20000 values"),
        ("a: &a [*a]\n" + HEAD, "line 1: an alias inside of what it stands for"),
        ("a: &a {<<: *a}\n" + HEAD, "line 1: an alias inside of what it stands for"),
        ("a: &a " + "[" * 9 + "]" * 9 + "\nb: " + "[" * 9 + "*a" + "]" * 9, "line 2: nested deeper than 16"),
        ("merge_method: *x\n", "line 1: found undefined alias"),
        (
            "merge_method: linear\nmerge_method: ties\nmodels: [{model: a}]",
            "line 2: the key 'merge_method' stands twice",
        ),
        (HEAD + "parameters: {weight: 1, weight: 2}", "line 3: the key 'weight' stands twice"),
        (HEAD + "parameters:\n  <<: 1", "line 4: .*expected a mapping"),
        (HEAD + "parameters:\n  <<: {weight: 1}\n  <<: {weight: 2}", "line 5: the key '<<' stands twice"),
        (HEAD + "dtype: !!python/object/apply:os.system ['true']", "line 3: the tag .*python/object"),
        (HEAD + "dtype: !!binary aGk=", "line 3: the tag"),
        (HEAD + "dtype: !x y", "line 3: the tag"),
        (HEAD + "1: 2", "line 3: a key that is not text"),
        (HEAD + "yes: 2", "line 3: a key that is not text"),
        (HEAD + "? [a, b]\n: c", "line 3: a key that is not text"),
        (HEAD + "dtype: " + "[" * 5000, "nested deeper than 16"),
        (HEAD + "dtype: " + "{a: " * 5000, "nested deeper than 16"),
        (HEAD + "".join(" " * i + "a:\n" for i in range(400)), "unknown key|nested deeper|line"),
        (HEAD + "parameters: {weight: [" + "1," * 30_000 + "]}", "more than 20000 values"),
        (HEAD + "parameters: {weight: " + "9" * 6000 + "}", "line 3: a number of 6000 characters"),
        ("1:" * 500_000 + "1", "line 1: a number of 1000001 characters"),
        ("---\n" + HEAD + "---\n" + HEAD, "2 documents in one file, and one output folder"),
        ("\x00", "not YAML"),
        (b"\xff\xfe\x00", "not YAML"),
        ("merge_method: [", "line 1"),
        ("a: b: c", "line 1: mapping values are not allowed"),
        ("", "not a table"),
        ("- a", "not a table"),
        ("just text", "not a table"),
    ],
)
def test_what_is_not_plain_data_is_refused(text, says) -> None:
    started = time.process_time()
    with pytest.raises(BadRecipe, match=says) as caught:
        parse(text if isinstance(text, bytes) else text.encode(), "stranger.yaml")
    assert "stranger.yaml" in str(caught.value) and "\n" not in str(caught.value)
    assert time.process_time() - started < 20


def test_a_recipe_has_at_most_a_mebibyte() -> None:
    with pytest.raises(LimitExceeded, match="1048577 bytes"):
        parse(b"#" * (MAX_RECIPE_BYTES + 1), "long.yaml")
    text = HEAD.encode()
    assert parse(text + b"#" * (MAX_RECIPE_BYTES - len(text)), "full.yaml").method == "linear"


def test_an_empty_document_is_none() -> None:
    assert parse(f"---\n{HEAD}\n...\n---\n# the end\n".encode(), "r") == parse(HEAD.encode(), "r")


def test_a_date_is_text_and_no_object() -> None:
    with pytest.raises(BadRecipe, match="unknown dtype '2020-01-01'"):
        parse((HEAD + "dtype: 2020-01-01").encode(), "r")


def test_random_bytes_never_escape_our_errors() -> None:
    import random

    source = random.Random(5)
    seeds = [HEAD, BOMB, HEAD + "parameters: {weight: [{filter: a, value: 1}]}\nslices: [{sources: [{model: b}]}]"]
    for _ in range(300):
        text = bytearray(source.choice(seeds).encode())
        for _ in range(source.randrange(1, 6)):
            text[source.randrange(len(text))] = source.choice(b"[]{}:,-*&!|>'\"%@`#\n\t 0aZ\x80")
        try:
            parse(bytes(text), "r")
        except MergebarrierError as fault:
            assert "\n" not in str(fault)


def test_anchors_aliases_and_merge_keys_mean_what_yaml_means_by_them() -> None:
    text = """
    merge_method: ties
    base_model: base
    parameters: &all {density: 0.5, weight: &w [0.1, 0.9]}
    models:
      - &one {model: a, parameters: {<<: *all, weight: 0.25}}
      - {<<: *one, model: b}
      - {model: c, parameters: {<<: [{density: 0.75}, *all], weight: *w}}
    """
    plain = """
    merge_method: ties
    base_model: base
    parameters: {density: 0.5, weight: [0.1, 0.9]}
    models:
      - {model: a, parameters: {density: 0.5, weight: 0.25}}
      - {model: b, parameters: {density: 0.5, weight: 0.25}}
      - {model: c, parameters: {density: 0.75, weight: [0.1, 0.9]}}
    """
    assert parse(text.encode(), "r") == parse(plain.encode(), "r")


def test_the_seed_that_tools_write_is_the_seed() -> None:
    for text, seed in (("random_seed: 0", 0), ("random_seed: 7\nmergebarrier: {seed: 7}", 7), ("random_seed:", None)):
        assert parse((HEAD + text).encode(), "r").seed == seed
    for text in ("random_seed: -1", "random_seed: x", "random_seed: 1\nmergebarrier: {seed: 2}"):
        with pytest.raises(BadRecipe, match="random_seed"):
            parse((HEAD + text).encode(), "r")
