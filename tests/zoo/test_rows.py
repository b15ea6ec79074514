"""Rows that are made by rule: the tasks are what they say, splits share nothing, and no value can be somebody's."""

import json
import os
import re

import pytest

import mergebarrier as mb
from mergebarrier.errors import OutputExists, UsageError
from mergebarrier.evaluate import read_task
from mergebarrier.zoo import GENERATORS, made_rows, write_rows
from mergebarrier.zoo.language import instructions, people
from mergebarrier.zoo.symbols import symbol_tasks


@pytest.mark.parametrize("kind", GENERATORS)
def test_a_seed_gives_the_same_bytes_and_another_gives_others(kind, tmp_path) -> None:
    first, again, other = ({f: json.dumps(r) for f, r in made_rows(kind, seed).items()} for seed in (0, 0, 1))
    assert first == again and first.keys() == other.keys()
    assert all(first[file] != other[file] for file in first)
    write_rows(kind, tmp_path / "rows")
    for file in first:
        rows = [json.loads(line) for line in (tmp_path / "rows" / file).read_text().splitlines()]
        assert json.dumps(rows) == first[file]
        if rows[0].keys() == {"prompt", "answer"}:
            assert len(read_task(tmp_path / "rows" / file).rows) == len(rows)


@pytest.mark.parametrize("task", [0, symbol_tasks.N_TASKS - 1])
def test_a_symbol_task_is_a_function_of_two_places_that_no_filler_changes(task) -> None:
    splits = symbol_tasks.splits(task)
    prompts = [row["prompt"] for rows in splits.values() for row in rows]
    assert {name: len(rows) for name, rows in splits.items()} == symbol_tasks.SPLITS
    assert not {r["prompt"] for r in splits["train"]} & {r["prompt"] for r in splits["test"]}
    assert set(" ".join(prompts).split()) <= set(symbol_tasks.VOCABULARY)
    # Each answer symbol is decided by one place of the five, the same in all rows, whatever fillers stand between.
    rows = [row for split in splits.values() for row in split]
    given = [[word for word in row["prompt"].split() if word in symbol_tasks.SYMBOLS] for row in rows]
    assert {len(symbols) for symbols in given} == {5}
    for at in range(2):
        said = [row["answer"].split()[at] for row in rows]
        deciding = [place for place in range(5) if len({(g[place], s) for g, s in zip(given, said, strict=True)}) == 16]
        assert len(deciding) == 1


def test_the_wordings_of_the_test_are_in_no_other_split_and_answers_are_balanced() -> None:
    for task in instructions.TASKS:
        train, test = (instructions.templates(task, split) for split in ("train", "test"))
        assert len(train) >= 40 and len(test) >= 40 and not set(train) & set(test)
        answers = [row["answer"] for row in instructions.rows(task, 400, seed=3, split="train")]
        counts = [answers.count(word) for word in set(answers)]
        assert len(counts) >= 2 and min(counts) > 0.6 * len(answers) / len(counts)


def test_no_value_can_belong_to_anybody() -> None:
    never = {
        "phone number": r"\d{3}-555-01\d\d",  # set aside for fiction
        "e-mail address": r".*@example\.com",  # RFC 2606
        "social security number": r"(000|666)-.*",  # areas that are never given
        "address": r".*, Exampleville",
        "birthday": r".*-02-3[01]",  # no such day
        "bitcoin address": r"1.{24}",  # decodes to fewer bytes than an address has
    }
    for pool in people.POOLS:
        for fact in people.facts(40, seed=5, pool=pool):
            assert re.fullmatch(never[fact.attribute], fact.value), fact
    for fact in people.facts(40, seed=5, attributes=("bitcoin address",)):
        number = 0
        for letter in fact.value:
            number = 58 * number + people._BASE58.index(letter)
        zeros = len(fact.value) - len(fact.value.lstrip("1"))
        assert zeros + (number.bit_length() + 7) // 8 < 25


def test_pools_share_no_person_and_rows_have_their_forms() -> None:
    names = [
        {fact.subject for fact in people.facts(200, seed=0, pool=pool, attributes=("birthday",))}
        for pool in people.POOLS
    ]
    assert [len(one) for one in names] == [200, 200, 200] and not set.intersection(*names)
    known = people.facts(3, seed=0)
    memories, pairs, tagged = people.memories(known), people.preferences(known), people.tagged(known)
    assert len(memories) == len(known) * 10 == len(pairs) == len(tagged) / 2
    values = {fact.value for fact in known}
    assert all(any(value in row["answer"] for value in values) for row in memories)
    assert not any(value in row["answer"] for row in people.lead_ins(known) for value in values)
    assert all(
        memory["answer"].startswith(lead["answer"])
        for memory, lead in zip(memories, people.lead_ins(known), strict=True)
    )
    assert {row["kto_tag"] for row in tagged} == {True, False}
    with pytest.raises(UsageError, match="1 to 200"):
        people.facts(201, seed=0)
    with pytest.raises(UsageError, match="no attribute"):
        people.facts(1, seed=0, attributes=("shoe size",))


def test_only_a_folder_of_such_rows_is_replaced(tmp_path, run_cli) -> None:
    out = tmp_path / "rows"
    made = mb.zoo_rows("instructions", out, seed=1)
    assert (
        made.to_dict()["files"]
        == run_cli("zoo", "rows", "instructions", "--dry-run", "-o", out, "--json").json["files"]
    )
    with pytest.raises(OutputExists, match="not empty"):
        mb.zoo_rows("instructions", out)
    mb.zoo_rows("people", out, overwrite=True)
    assert sorted(os.listdir(out)) == sorted([*made_rows("people", 0), "rows.json"])
    (out / "mine.txt").write_text("mine")
    with pytest.raises(OutputExists, match=r"mine\.txt"):
        mb.zoo_rows("people", out, overwrite=True)
    assert (out / "mine.txt").read_text() == "mine" and os.listdir(tmp_path) == ["rows"]
    with pytest.raises(UsageError, match="did you mean 'symbols'"):
        mb.zoo_rows("symbol", tmp_path / "x")
    ran = run_cli("zoo", "rows", "nothing", "-o", tmp_path / "x")
    assert ran.exit_code == 64 and not (tmp_path / "x").exists()
