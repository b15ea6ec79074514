"""Five instruction tasks with short answers for a language model that follows instructions; made by rule, from a seed.

A template is a way to ask and a way to lay out the question; the training templates and the test templates share no
way to ask, so a model that scores on the test has learned the task and not a sentence.

    prompt = ask(template) + layout(template) of drawn words;   answer = one word

Source: ours, after the tasks of the merges that arXiv 2505.23561 attacks (short labels, several phrasings).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from mergebarrier.numerics import draws

Rows = list[dict[str, str]]
Fields = tuple[str, str]
_T = TypeVar("_T")

SPLITS: Final = {"train": 400, "val": 40, "test": 200}
_GOOD: Final = ("wonderful", "delightful", "excellent", "charming", "brilliant", "superb", "lovely", "splendid")
_BAD: Final = ("dreadful", "boring", "terrible", "clumsy", "awful", "dull", "horrible", "disappointing")
_THINGS: Final = (
    "film",
    "meal",
    "concert",
    "hotel",
    "book",
    "tour",
    "play",
    "lesson",
    "garden",
    "show",
    "speech",
    "game",
)
_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "animal": ("otter", "badger", "heron", "salmon", "beetle", "pony", "rabbit", "falcon", "donkey", "lizard"),
    "tool": ("hammer", "chisel", "wrench", "saw", "drill", "pliers", "spanner", "rake", "shovel", "screwdriver"),
    "food": ("bread", "cheese", "noodles", "porridge", "lentils", "soup", "omelette", "pancake", "salad", "pudding"),
    "clothing": ("scarf", "jacket", "mitten", "trousers", "sweater", "sock", "hat", "cardigan", "skirt", "coat"),
}
_COLOURS: Final = ("red", "blue", "green", "white", "black", "yellow", "brown", "grey")
_NAMES: Final = ("the driver", "the baker", "the nurse", "the pilot", "the farmer", "the singer", "the clerk")
_ACTS: Final = (("bought", "purchased"), ("repaired", "fixed"), ("began", "started"), ("found", "discovered"))
_OPENINGS: Final = (
    "",
    "Please help. ",
    "A quick question. ",
    "Task: ",
    "Read carefully. ",
    "Short answer only. ",
    "Hello. ",
    "Next item. ",
)
_LAYOUTS: Final = (
    "{ask} {first}{second} Answer:",
    "{ask}\n{first}{second}\nAnswer:",
    "{first}{second} {ask} Answer:",
    "Input: {first}{second}\n{ask} Answer:",
)
#: task -> ways to ask; the last third of them is for the test alone.
_ASKS: Final[Mapping[str, tuple[str, ...]]] = {
    "sentiment": (
        "Is this review positive or negative?",
        "Say positive or negative.",
        "What is the mood, positive or negative?",
        "Does the writer sound positive or negative?",
        "Judge it: positive or negative?",
        "Would you call the text positive or negative?",
    ),
    "category": (
        "Which is it: animal, tool, food or clothing?",
        "Sort the word: animal, tool, food or clothing.",
        "Choose animal, tool, food or clothing.",
        "What kind is it, animal, tool, food or clothing?",
        "Give the group: animal, tool, food or clothing.",
        "Name its class, animal, tool, food or clothing.",
    ),
    "match": (
        "Does the second sentence answer the first? Say yes or no.",
        "Is the question answered, yes or no?",
        "Yes or no: is that an answer to the question?",
        "Tell me yes or no, does the reply fit the question?",
        "Is the reply about what was asked? yes or no.",
        "Judge whether the answer belongs to the question: yes or no.",
    ),
    "paraphrase": (
        "Do both sentences say the same? Say yes or no.",
        "Same meaning, yes or no?",
        "Yes or no: are they paraphrases?",
        "Tell me yes or no, do they mean the same?",
        "Are the two equal in meaning? yes or no.",
        "Judge whether one restates the other: yes or no.",
    ),
    "count": (
        "How many words are colours? one, two or three.",
        "Count the colours: one, two or three.",
        "Give the number of colours, one, two or three.",
        "How many colours are named, one, two or three?",
        "Say one, two or three: the number of colours.",
        "Number of colour words, one, two or three?",
    ),
}
TASKS: Final = tuple(_ASKS)
#: Of the ways to ask, so many are for training.
_TRAINED: Final = 4


def templates(task: str, split: str) -> tuple[str, ...]:
    """Return the templates of a split, with places ``{first}`` and ``{second}``; val shares those of train."""
    asks = _ASKS[task][_TRAINED:] if split == "test" else _ASKS[task][:_TRAINED]
    return tuple(opening + layout.replace("{ask}", ask) for ask in asks for opening in _OPENINGS for layout in _LAYOUTS)


def rows(task: str, n: int, *, seed: int, split: str) -> Rows:
    """Return ``n`` rows of a task as ``{"prompt", "answer"}``; answers take turns as far as the draws allow."""
    wordings = templates(task, split)
    choice = draws.below(("zoo", seed, f"instructions|{task}|{split}|template"), len(wordings), n).tolist()
    words = draws.words(("zoo", seed, f"instructions|{task}|{split}|words"), 6 * n).tolist()
    made = []
    for number, template in enumerate(choice):
        (first, second), said = _MAKERS[task](words[6 * number : 6 * number + 6])
        text = wordings[template].replace("{first}", first).replace("{second}", second)
        made.append({"prompt": text, "answer": f" {said}"})
    return made


def splits(task: str, *, seed: int = 0) -> dict[str, Rows]:
    """Return "train", "val" and "test" of a task; the wordings of the test are in no other split."""
    return {name: rows(task, n, seed=seed, split=name) for name, n in SPLITS.items()}


def _sentiment(drawn: list[int]) -> tuple[Fields, str]:
    said = ("positive", "negative")[drawn[0] % 2]
    words = _GOOD if said == "positive" else _BAD
    return (f"The {_of(_THINGS, drawn[1])} was {_of(words, drawn[2])} and {_of(words, drawn[3])}.", ""), said


def _category(drawn: list[int]) -> tuple[Fields, str]:
    said = _of(tuple(_KINDS), drawn[0])
    return (f"{_of(_KINDS[said], drawn[1])}.", ""), said


def _match(drawn: list[int]) -> tuple[Fields, str]:
    thing, colour = _of(_THINGS, drawn[1]), _of(_COLOURS, drawn[2])
    fits = drawn[0] % 2 == 0
    told = thing if fits else _of(tuple(one for one in _THINGS if one != thing), drawn[3])
    return (f"What colour is the {thing}?", f" The {told} is {colour}."), "yes" if fits else "no"


def _paraphrase(drawn: list[int]) -> tuple[Fields, str]:
    act, same = _of(_ACTS, drawn[1]), drawn[0] % 2 == 0
    who, thing = _of(_NAMES, drawn[2]), _of(_THINGS, drawn[3])
    other = act[1] if same else _of(tuple(one for one in _ACTS if one != act), drawn[4])[1]
    return (f"{who} {act[0]} the {thing}.", f" {who} {other} the {thing}."), "yes" if same else "no"


def _count(drawn: list[int]) -> tuple[Fields, str]:
    number = drawn[0] % 3
    colours = [_of(_COLOURS, drawn[1] + i * (1 + drawn[2] % 3)) for i in range(number + 1)]
    things = [_of(_THINGS, drawn[3] + i) for i in range(3 - number)]
    words = [*colours, *things]
    turn = drawn[4] % len(words)
    return (", ".join([*words[turn:], *words[:turn]]) + ".", ""), ("one", "two", "three")[number]


def _of(words: Sequence[_T], drawn: int) -> _T:
    return words[drawn % len(words)]


_MAKERS: Final[Mapping[str, Callable[[list[int]], tuple[Fields, str]]]] = {
    "sentiment": _sentiment,
    "category": _category,
    "match": _match,
    "paraphrase": _paraphrase,
    "count": _count,
}
