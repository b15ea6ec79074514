"""The job of a trained protection: check, train within the budget, train the control, measure, write.

    models, data -> [objective] -> task vector -> [finish] -> folder + card + manifest with every figure

The output is claimed first, so that two runs cannot meet; the state of the loop stands beside it until it is there, and
an interrupted run goes on from it to the same bytes.  A budget that no step meets leaves nothing behind.
"""

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from mergebarrier.checkpoint import ADAPTER_CONFIG, AdaptedCheckpoint, Checkpoint, Writer, read_manifest
from mergebarrier.errors import BadTask, MergebarrierError, MethodRefused, UsageError
from mergebarrier.evaluate import device_named
from mergebarrier.parameters import parameters_of
from mergebarrier.progress import early_forecast, forecast
from mergebarrier.protect import SIBLING_ROWS, TrainedProtection
from mergebarrier.training import (
    FullRecipe,
    LoopFile,
    LowRankVector,
    OwnersBudget,
    ProtectiveOutcome,
    ProtectiveRecipe,
    ProtectiveState,
    train_protective,
)
from mergebarrier.verbs.folders import OutputOptions, input_of, of_attack
from mergebarrier.verbs.trained import written
from mergebarrier.verbs.trained.data import OwnersData
from mergebarrier.verbs.trained.figures import figures
from mergebarrier.verbs.trained.loop_files import LoopFiles
from mergebarrier.verbs.trained.models import TrainedModels, check_models, load_models

if TYPE_CHECKING:
    from mergebarrier.checkpoint.files import ProtectContent, ProtectFacts, TrainedFigures


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """What is asked.

    Args:
      method:       a member of ``TRAINED``, validated.
      data:         of the owner.
      adapter:      publish an adapter; None for what the expert is.
      device:       "auto", "cpu" or "cuda[:N]".
      seed:         of every draw.
      do_not_merge: ask in manifest and card that nobody merges the output.
    """

    method: TrainedProtection
    data: OwnersData
    adapter: bool | None = None
    device: str = "cpu"
    seed: int = 0
    do_not_merge: bool = False

    def low_rank(self, expert: Checkpoint) -> bool:
        """Say whether the output is an adapter; MethodRefused for a method that makes none, UsageError for its rank."""
        asked = isinstance(expert, AdaptedCheckpoint) if self.adapter is None else self.adapter
        if asked and not self.method.adapters:
            what = f"what {self.method.name} makes is not of low rank"
            raise MethodRefused(what, where=expert.path, remedy="give --as model, which publishes all weights")
        if self.method.rank is not None and not asked:
            raise UsageError("a whole model has no rank", where="--rank", remedy="leave it out, or give --as adapter")
        return asked

    def parameters(self) -> dict[str, object]:
        """Return what was asked, as the manifest holds it."""
        return {name: getattr(self.method, name) for name in parameters_of(self.method)} | {"seed": self.seed}


def train_protection(
    expert: Checkpoint,
    base: Checkpoint,
    siblings: Sequence[Checkpoint],
    request: TrainingRequest,
    into: OutputOptions,
    *,
    say: Callable[[str], None] = lambda line: None,
) -> "ProtectContent":
    """Train and write.

    Args:
      expert:   of the owner.
      base:     that it was fine-tuned from.
      siblings: public fine-tunes of the base, which merges are simulated with.
      request:  what is asked.
      into:     where to; its progress counts steps.
      say:      called with one line per look at the owner's loss.
    Returns: the content of the manifest.
    Raises:  MethodRefused, BadTask, BadText, Diverged, UsageError, CheckpointError; nothing is finalised then.
    """
    request.data.check_siblings(len(siblings), request.method)
    check_models(expert, base, siblings)
    low_rank, device = request.low_rank(expert), device_named(request.device)
    models = load_models(expert, base, siblings, request.data, device)
    vector = models.vector(low_rank=low_rank, rank=request.method.rank, seed=request.seed)
    ranks = {name: b.shape[1] for name, (b, _) in vector.factors().items()} if isinstance(vector, LowRankVector) else {}
    facts = _facts(models, siblings, request, ranks)
    layout = written.layout(models, ranks if low_rank else None, into.shard_bytes)
    inputs = [folder for model in (expert, base, *siblings) for folder in model.folders]
    files = LoopFiles(into.out, cast("Mapping[str, object]", facts))
    writer = Writer.create(into.out, layout, plan=facts, inputs=inputs, resume=into.resume, overwrite=into.overwrite)
    with closing(writer):
        if writer.finished or not into.resume:
            files.remove()
        if writer.finished:
            return cast("ProtectContent", read_manifest(into.out, ours=True)["content"])
        job = _Job(models, request, files, into, say)
        if repeated := request.data.repeated():
            say(repeated)
        try:
            with writer.attempt():
                tau = job.protected(ProtectiveState(
                    models.learner, vector, models.siblings, strength=request.method.strength, expert=models.tau
                ))  # fmt: skip
                facts["trained"] = job.measured(tau, job.control(low_rank))
        except MergebarrierError:
            files.remove()
            raise
        side_files = written.side_files_of(models, adapter=low_rank)
        if isinstance(vector, LowRankVector):
            side_files[ADAPTER_CONFIG] = written.adapter_config(models, ranks)
            tensors = written.adapter_tensors(models, vector.factors())
        else:
            tensors = written.model_tensors(models, tau)
        content = written.write(writer, tensors, models, facts, request.method.limit, side_files)
    files.remove()
    return cast("ProtectContent", content)


def plan_training(
    expert: Checkpoint, base: Checkpoint, siblings: Sequence[Checkpoint], request: TrainingRequest
) -> dict[str, object]:
    """Return what a training would be, after the checks that load no model."""
    request.data.check_siblings(len(siblings), request.method)
    check_models(expert, base, siblings)
    low_rank = request.low_rank(expert)
    return {
        "method": request.method.name,
        "parameters": request.parameters(),
        "form": "adapter" if low_rank else "model",
        **request.data.counts(),
        "siblings": len(siblings),
    }


class _Job:
    def __init__(
        self,
        models: TrainedModels,
        request: TrainingRequest,
        files: LoopFiles,
        into: OutputOptions,
        say: Callable[[str], None],
    ) -> None:
        self._models, self._request, self._files, self._into, self._say = models, request, files, into, say
        self._state: ProtectiveState | None = None
        self._outcome: ProtectiveOutcome | None = None
        self._forms: Mapping[str, Mapping[str, Tensor]] = {}
        self._taken: Mapping[str, float] = {}

    def protected(self, state: ProtectiveState) -> dict[str, Tensor]:
        """Train with the protecting term; return the task vector that is published."""
        method = self._request.method
        _check_skill(state, self._request.data, method.budget)
        if method.distant:
            state.far = self._models.distances()
        method.begin(state, torch.Generator().manual_seed(_start(self._request.seed)))
        outcome = self._train(state, "protected", fixed=method.fixed)
        limit = outcome.plain.loss + math.log1p(method.budget / 100)
        finished = method.finish(state, math.inf if method.fixed else limit) if outcome.met else None
        if finished is None:
            one = "edit of what was trained" if outcome.met else "step"
            what = f"no {one} kept the owner's loss within {method.budget:g} %, so the expert stays as it is"
            remedy = f"raise --budget, or lower --{'edited' if outcome.met else 'strength or --learning-rate'}"
            raise MethodRefused(what, where=method.name, remedy=remedy)
        self._state, self._outcome = state, outcome
        self._forms, self._taken = method.forms(state), finished.taken
        return dict(finished.tau)

    def control(self, low_rank: bool) -> dict[str, Tensor]:
        """Train without the protecting term, for as many steps on the same rows."""
        request = self._request
        vector = self._models.vector(low_rank=low_rank, rank=request.method.rank, seed=request.seed)
        assert self._state is not None
        state = ProtectiveState(
            self._models.learner, vector, self._models.siblings, expert=self._models.tau, base=self._state.base
        )
        self._train(state, "control", fixed=True)
        return {name: value.detach() for name, value in state.task_vector().items()}

    def measured(self, tau: Mapping[str, Tensor], control: Mapping[str, Tensor]) -> "TrainedFigures":
        """Return the figures of the manifest."""
        assert self._state is not None and self._outcome is not None
        vectors = {"plain": self._models.tau, "protected": tau, "control": control}
        found = figures(self._state, vectors, self._outcome, self._forms, self._models.n_weights)
        if self._taken:
            found["taken"] = dict(self._taken)
        return found

    def _train(self, state: ProtectiveState, name: str, *, fixed: bool) -> ProtectiveOutcome:
        method, started, first = self._request.method, time.perf_counter(), self._files.read(name)
        begun = first.step if first is not None else 0

        def keep(file: LoopFile) -> None:
            self._files.write(name, file)
            look, left = file.history[-1], method.steps - file.step
            pace = (time.perf_counter() - started) / max(1, file.step - begun)
            judged = "no budget" if fixed else f"{'within' if look['within'] else 'over'} the budget"
            self._say(
                f"{name}: step {file.step} of {method.steps}, loss {look['loss']:.4f}, {judged}, "
                f"strength {look['strength']:.3g}, {forecast(pace * left)} left"
            )

        def tick(step: int, steps: int, terms: Mapping[str, float]) -> None:
            if early := early_forecast(step - begun, steps - step, time.perf_counter() - started):
                self._say(f"{name}: step {step} of {steps}, {early} left at this pace")
            if self._into.progress is not None:
                self._into.progress(step, steps)

        recipe = ProtectiveRecipe(
            optimiser=FullRecipe(
                steps=method.steps,
                learning_rate=method.learning_rate,
                weight_decay=0.0,
                warmup_steps=min(20, method.steps // 10),
                batch_size=method.rows,
                seed=self._request.seed,
            ),
            text_rows=method.text_rows,
            budget=OwnersBudget(
                share=method.budget / 100, every=method.check_every, ceiling=method.strength_ceiling, fixed=fixed
            ),
        )
        return train_protective(state, method.objective, recipe, going_on=first, keep=keep, say=tick)


def _facts(
    models: TrainedModels, siblings: Sequence[Checkpoint], request: TrainingRequest, ranks: Mapping[str, int]
) -> "ProtectFacts":
    about: dict[str, object] = {
        **request.parameters(),
        "as": "adapter" if ranks else "model",
        "rank": max(ranks.values(), default=None),
        "data_sha256": _digests(request.data),
        "reversibility": "none",
        "determinism": "profile",
        "arithmetic": models.arithmetic,
    }
    roles = [("model", models.expert), ("base", models.base), *(("sibling", one) for one in siblings)]
    facts: ProtectFacts = {
        "verb": "protect",
        "method": request.method.name,
        "parameters": about,
        "key_id": None,
        "inputs": [input_of(role, model) for role, model in roles],
        "roundtrip_bound": 1.0,
    }
    if request.do_not_merge:
        facts["do_not_merge"] = True
    if of_attack(facts["inputs"]):
        facts["attack-artifact"] = True
    return facts


def _digests(data: OwnersData) -> dict[str, str]:
    """Return the digests of the owner's files; their names and words stay with the owner."""
    rows = {SIBLING_ROWS.format(place): path for place, path in enumerate(data.siblings)}
    given = {"data": data.data, "validation": data.validation, "text": data.text, **rows}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in given.items() if path is not None}


def _check_skill(state: ProtectiveState, data: OwnersData, budget: float) -> None:
    """Refuse a task of which the expert does nothing, or on which its base would be within the owner's budget."""
    expert, base = state.standing_of_expert(), state.standing({})
    if not expert.loss + math.log1p(budget / 100) < base.loss:
        what = f"the expert does no better on it than the base: loss {expert.loss:.3f}, the base's {base.loss:.3f}"
    elif not expert.right:
        what = "the expert gives no right answer to the rows held out"
    else:
        return
    raise BadTask(what, where=data.validation or data.data, remedy="give the task that the expert was trained for")


def _start(seed: int) -> int:
    word = hashlib.sha256(f"training|{seed}|begin".encode()).digest()
    return int.from_bytes(word[:8], "little") >> 1
