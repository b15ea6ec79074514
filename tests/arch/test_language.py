"""A text that breaks the language of tables is refused with its line, in bounded time, whatever it holds."""

import random

import pytest

from mergebarrier.arch import FAMILIES, numbered, registry
from mergebarrier.errors import BadTable

TEXTS = [value for value in vars(registry).values() if isinstance(value, str) and "\nfamily " in value]
_HEAD = "family x of llama: LlamaForCausalLM\n"
_STREAM = "  residual  d  signed  hidden_size\n"
#: What is written -> (line that is named, words of the message).
WRONG = {
    "family x\n  use decoder\n": (1, "names its classes"),
    "family x: A\n  a.weight  _ _\n": (1, "`residual` stream"),
    "famly x: A\n": (1, "no first line"),
    f"  {_HEAD}": (1, "no first line"),
    f"{_HEAD}  use decoder\n{_HEAD}": (3, "stands twice"),
    "family x (tide): A\n  use decoder\n": (1, "'tide' is not a property (did you mean 'tied'?)"),
    f"{_HEAD}\n# note\n  use decodr\n": (4, "did you mean 'decoder'"),
    f"{_HEAD}  use decoder with STREAM=sined\n": (2, "'sined' is no kind of axis"),
    f"{_HEAD}  exmaple text\n": (2, "did you mean 'example'"),
    f"{_HEAD}\tuse decoder\n": (2, "a tab"),
    f"{_HEAD}  a.weight {'x' * 400}\n": (2, "more than 400 characters"),
    f"{_HEAD}  residual d signed hidden_size\n": (2, "four columns"),
    f"{_HEAD}  residual  d  signed  9**9**9\n": (2, "no size"),
    f"{_HEAD}  residual  d  signed  print(1)\n": (2, "no size"),
    f"{_HEAD}  residual  d  signed  hidden_size, over x\n": (2, "'over' is no kind of axis"),
    f"{_HEAD}{_STREAM}  a.weight  (g d\n": (3, "a parenthesis is open"),
    f"{_HEAD}{_STREAM}  a.weight  d | d\n": (3, "1 names for 2 expressions"),
    f"{_HEAD}{_STREAM}  a.weight  d |\n": (3, "1 names for 2 expressions"),
    f"{_HEAD}{_STREAM}  {{a,b}}.weight  d |\n": (3, "no expression"),
    f"{_HEAD}{_STREAM}  a.weight  d z\n": (3, "'z', which is not declared"),
    f"{_HEAD}{_STREAM}  a b.weight  d\n": (3, "not the name of a tensor"),
    f"{_HEAD}{_STREAM}  a.{{k}}.weight  d\n": (3, "nothing says how many 'k'"),
    f"{_HEAD}{_STREAM}  norm.weight  d! -> q\n": (3, "read by q, which is no line"),
    f"{_HEAD}  use decoder\n  model.extra.weight  q d\n": (3, "depends on 'i', which model.extra.weight lacks"),
    f"{_HEAD}  refuse rope unless\n": (2, "a refusal reads"),
    f"{_HEAD}  refuse rope unless open('x'): why\n": (2, "malformed node"),
    f"{_HEAD}  select kind = 'a' b\n": (2, "invalid syntax"),
    f"{_HEAD}  spell (a => b\n": (2, "unterminated subpattern"),
    f"{_HEAD}  spell (a) => \\2\n": (2, "invalid group reference"),
    f"{_HEAD}  with A\n": (2, "not WORD=VALUE"),
    f"{_HEAD}{_STREAM}  {'{a,b}' * 60}.weight  d\n": (3, "more than 256 names"),
    f"{_HEAD}  with A=B B\n" + "  with B=A A, A=B B\n" * 40: (9, "too long"),
    f"part a\n  use b\npart b\n  use a\n{_HEAD}  use a\n": (4, "does one use itself"),
    "".join(f"part p{i}\n  use p{i + 1}\n  use p{i + 1}\n" for i in range(40)) + f"part p40\n{_HEAD}  use p0\n": (
        120,
        "more than 256 parts",
    ),
}


def read(text):
    families = FAMILIES.beside(numbered(text, "FILE"))
    return [families[name] for name in families]


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_a_wrong_line_is_named(text) -> None:
    line, words = WRONG[text]
    with pytest.raises(BadTable) as refused:
        read(text)
    assert refused.value.where == f"FILE:{line}" and words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("seed", range(4))
def test_no_text_ends_in_another_way(seed) -> None:
    """Tables of ours with characters taken out, put in, and whole words where they do not belong."""
    rng = random.Random(seed)
    junk = [
        *"(){}|,.*!^'?=<>- \\#\t\n:_\0",
        "use ",
        "with ",
        "part ",
        "family ",
        "{i}",
        " -> ",
        "order",
        "  layers  i  3\n",
    ]
    refused = 0
    for _ in range(150):
        text = rng.choice(rng.choice(TEXTS).split("\n\n"))
        for _ in range(rng.choice((1, 1, 2, 4))):
            start = rng.randrange(len(text) + 1)
            text = text[:start] + rng.choice((rng.choice(junk), "")) + text[start + rng.choice((0, 1, 2, 9)) :]
        try:
            read(text)
        except BadTable as error:
            refused += 1
            assert error.where.startswith("FILE:") and "\n" not in str(error)
    assert refused > 30


def test_what_is_continued_commented_and_given_by_name_is_read() -> None:
    (family,) = read(
        "# a comment\npart mine with WIDTH=wide, \\\n    ORDER=order\n  neurons  n  ORDER  WIDTH, at MLP   # behind\n"
        "family x of a \\\n    b: A B\n  with mine\n  spell ^{enc,dec}\\. => {encoder,decoder}.\n  use mine\n"
        "  residual  d  signed  WIDTH\n  layers.{i}.a.*  n d\n"
    )
    assert family.model_types == ("a", "b") and family.architectures == ("A", "B")
    assert family.axes["n"].size == family.axes["d"].size == "wide"
    assert family.canonical("dec.layers.0") == "decoder.layers.0"
    assert family.tensors["layers.{i}.a.bias"] == "n ?" and family.places["layers.{i}.a.bias"] == "FILE:11"
