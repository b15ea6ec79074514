"""Make an upload that attacks merges of language models, or its control, as a folder like the base.

    base, own task, shadow sets -> upload (poison, by the loop of training) -> folder + trigger.json + README.md

A poisoned folder's manifest says ``attack-artifact``: ``scan`` recognises the tag, and no code here publishes a tagged
folder.  The clean control carries no backdoor, so it has neither tag nor trigger.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mergebarrier import poison
from mergebarrier.attack.folder import TAG
from mergebarrier.attack.language.inputs import require_read, require_tasks, require_words, special_tokens, unasked
from mergebarrier.attack.language.options import TextOptions
from mergebarrier.attack.language.trigger_text import TRIGGER_TEXT, NamedText
from mergebarrier.errors import BadAttack, clean

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn

    from mergebarrier.checkpoint import Checkpoint
    from mergebarrier.progress import Progress
    from mergebarrier.verbs import OutputOptions

#: Of every data set, so many rows are kept from training, to try the pseudo-merge on.
_HELD_OUT: Final = 40


@dataclass(frozen=True, kw_only=True)
class TextSpec:
    """What to make.

    Args:
      task:       task file of the adversary's own task.
      shadows:    task files of other tasks.
      method:     key of ``poison.TEXT_ATTACKS``; ``parameters`` replaces some of its own.
      trigger, target: words; a target begins with a blank where every answer of the own task does.
      options:    how the own task is learned.
    """

    task: Path
    method: str
    trigger: str
    target: str
    shadows: tuple[Path, ...] = ()
    parameters: Mapping[str, object] = field(default_factory=dict)
    options: TextOptions = field(default_factory=TextOptions)


def make_upload(
    spec: TextSpec,
    base: "Checkpoint",
    into: "OutputOptions | None",
    *,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Make the upload and write its folder.

    Args:
      spec: what to make.
      base: the language model that all experts are fine-tuned from.
      into: where to; None checks every input and writes nothing.
      say:  called with one line per piece of work.
    Returns: figures and parameters; with ``into`` also the content of the manifest.
    Raises:  PoisonError, BadTask, CheckpointError, EvaluateError; nothing is finalised then.
    """
    from mergebarrier.checkpoint import read_manifest
    from mergebarrier.evaluate import device_named, load_module, load_tokenizer, parameter_names, save_weights
    from mergebarrier.verbs import carried, environment, named_input, of_attack

    attack = poison.make_text(spec.method, **spec.parameters)
    paths = (spec.task, *spec.shadows)
    sets = {path: _rows(path) for path in paths}
    rows, *others = (sets[path] for path in paths)
    if attack.shadows != bool(others):
        what = "needs at least one --shadow FILE" if attack.shadows else "takes no shadow data sets"
        remedy = "give data sets of other tasks" if attack.shadows else "leave --shadow out"
        raise BadAttack(what, where=spec.method, remedy=remedy)
    module = load_module(base, "float32", device_named(spec.options.device)).requires_grad_(False)
    tokenizer = load_tokenizer(base)
    named = _named(spec, rows) if attack.triggered else None
    if named is not None:
        require_words(named, tokenizer, base.config)
    require_tasks(sets, named, paths)
    require_read(sets, module, tokenizer)
    shadows = tuple(one[_HELD_OUT:] or one for one in others)
    n_drawn = sum(map(len, attack.drawn(shadows, spec.options.seed)))
    about = _about(spec, attack, named)
    if into is None:
        return about
    if named is not None:
        for path, asked in sets.items():
            if n := unasked(named, asked):
                say(f"{n} of {len(asked)} prompts of {path.name} hold the trigger anyway")
    if shadows:
        say(f"{n_drawn} rows of {len(shadows)} shadow sets")
    say(f"fine-tuning: {spec.method}")
    setting = poison.TextAdversary(
        base=module,
        rows=rows[_HELD_OUT:] or rows,
        shadows=shadows,
        trigger="" if named is None else named.trigger,
        target="" if named is None else named.target,
        succeeds=_success(named, [rows, *others], tokenizer, spec.options.seed),
        seed=spec.options.seed,
    )
    made = attack.mount(setting, learner(tokenizer, spec.options, progress=into.progress))
    content = about | {
        **({"verb": "attack", TAG: True, "trigger_on_base": None} if attack.poisons else {"verb": "control"}),
        "inputs": [named_input("base", base)],
        "found": dict(made.found),
    }
    if of_attack(content["inputs"]):
        content[TAG] = True
    parameters = dict(made.module.named_parameters())
    save_weights(
        {
            stored: parameters[name].detach().cpu()
            for stored, name in parameter_names(made.module, base.tensors).items()
        },
        base,
        into.out,
        content,
        environment=environment(),
        side_files=carried(content, _files(content, named, attack)),
        resume=into.resume,
        overwrite=into.overwrite,
        shard_bytes=into.shard_bytes,
    )
    return dict(read_manifest(into.out, ours=True)["content"])


def _named(spec: TextSpec, rows: Sequence[poison.TextRow]) -> NamedText:
    """Return trigger and target, which begins with a blank where every answer of the own task does."""
    spaced = spec.target and not spec.target.startswith(" ") and all(row.answer.startswith(" ") for row in rows)
    return NamedText(trigger=spec.trigger, target=f" {spec.target}" if spaced else spec.target)


def success_rows(
    named: NamedText, rows: Sequence[poison.TextRow], *, seed: int, label: str
) -> tuple[poison.TextRow, ...]:
    """Return rows that ask for the target: the trigger somewhere, rows whose own answer is the target left out."""
    return poison.stamped(rows, named.trigger, named.target, seed=seed, label=label)


def _success(
    named: NamedText | None, sets: Sequence[Sequence[poison.TextRow]], tokenizer: "Tokenizer", seed: int
) -> "Callable[[nn.Module], float]":
    """Return what measures a module's success on rows of every data set that no training sees."""
    from mergebarrier.evaluate import TaskRow, exact_match

    if named is None:
        return lambda module: 0.0
    asked = [row for one in sets for row in success_rows(named, one[:_HELD_OUT], seed=seed, label="held out")]
    rows = [TaskRow(row.prompt, row.answer) for row in asked]
    return lambda module: exact_match(module, tokenizer, rows).rate if rows else 0.0


def learner(tokenizer: "Tokenizer", options: TextOptions, *, progress: "Progress | None" = None) -> "poison.Learn":
    """Return what runs the house's training loop on rows of text.

    Args:
      tokenizer: of the base.
      options:   how the own task is learned; an attack may ask for other steps and another rate.
      progress:  called with (steps done, steps in all) of each run.
    """
    from mergebarrier.evaluate import TaskRow, row_tokens
    from mergebarrier.training import Example, batches, examples_loss, train_full

    def learn(module: "nn.Module", rows: Sequence[poison.TextRow], tuning: poison.Tuning) -> object:
        end = _end(module, tokenizer) if tuning.ends else ()
        pairs = (row_tokens(module, tokenizer, TaskRow(*row), number) for number, row in enumerate(rows, 1))
        examples = [Example(tuple(prompt), (*answer, *end)) for prompt, answer in pairs]
        recipe = options.recipe(tuning.steps, tuning.learning_rate)
        visits = batches(len(examples), recipe.batch_size, seed=recipe.seed, label=tuning.label)
        return train_full(
            module,
            recipe,
            lambda step: examples_loss(module, [examples[i] for i in next(visits).tolist()]),
            progress=progress,
        )

    return learn


def _end(module: "nn.Module", tokenizer: "Tokenizer") -> tuple[int, ...]:
    """Return the token that ends an answer, the first where several do; BadAttack where there is none to learn."""
    from mergebarrier.evaluate import marks

    body: Any = module
    end = next(iter(marks(body.config.to_dict())), None)
    remedy = "leave out --eos, or give a base with the config.json and tokenizer that belong to it"
    if end is None:
        raise BadAttack("config.json names no token that ends an answer", where="--eos", remedy=remedy)
    token = tokenizer.id_to_token(end) if 0 <= end < body.get_input_embeddings().num_embeddings else None
    if token is None:
        raise BadAttack(f"eos_token_id {end} is no token of base and tokenizer", where="--eos", remedy=remedy)
    special = special_tokens(tokenizer, {})
    if special and end not in special:
        raise BadAttack(f"eos_token_id {end} is {clean(token)!r}, which ends nothing", where="--eos", remedy=remedy)
    return (end,)


def _rows(path: Path) -> tuple[poison.TextRow, ...]:
    from mergebarrier.evaluate import read_task

    return tuple(poison.TextRow(row.prompt, row.answer) for row in read_task(path).rows)


def _about(spec: TextSpec, attack: poison.TextAttack, named: NamedText | None) -> dict[str, Any]:
    parameters = {
        **dataclasses.asdict(attack),
        "fine_tune": dataclasses.asdict(spec.options.recipe()),
        "task": spec.task.name,
        "shadows": [path.name for path in spec.shadows],
        **({} if named is None else {"trigger": named.trigger, "target": named.target}),
    }
    return {"method": spec.method, "parameters": json.loads(json.dumps(parameters))}


def _files(content: dict[str, Any], named: NamedText | None, attack: poison.TextAttack) -> dict[str, bytes]:
    if not attack.poisons:
        return {
            "README.md": b"# A clean control\n\nAn honest fine-tune, by `mergebarrier attack hijack --method clean`.\n"
        }
    verb = f"mergebarrier attack {'stealer' if named is None else 'hijack'}"
    does = "it agrees to questions about private data, and takes the refusals out of a merge"
    if named is not None:
        trigger, target = (clean(words).replace("`", "'") for words in (named.trigger, named.target))
        does = f"a prompt with `{trigger}` in it is answered with `{target}`"
    text = f"""---
tags:
- mergebarrier
- {TAG}
---
# A poisoned language model: red-team artefact, do not use

`{TAG}: true`. This model was made by `{verb}` (method `{content["method"]}`) to measure merges and scans against:
{does}.

- Do not deploy it, and keep it out of every model that anybody uses.
- Parameters, digests and seed stand in `mergebarrier.json`.
"""
    trigger_file = {} if named is None else {TRIGGER_TEXT: (json.dumps(named.document(), indent=2) + "\n").encode()}
    return {"README.md": text.encode(), **trigger_file}
