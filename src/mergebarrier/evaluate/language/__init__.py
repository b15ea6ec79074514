"""Language models: forward passes, scores on tasks and text, comparison, barriers."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.evaluate.language.alike import alike_logits
    from mergebarrier.evaluate.language.barrier import LossBarrier, barrier_curve
    from mergebarrier.evaluate.language.compare import Equality, SameAnswers, compare, compare_answers
    from mergebarrier.evaluate.language.forward import (
        MIN_TOKENS,
        check_vocabulary,
        hidden_states,
        logit_blocks,
        max_positions,
        next_logits,
        text_windows,
        token_ids,
    )
    from mergebarrier.evaluate.language.inversion import leading_tokens
    from mergebarrier.evaluate.language.sampled import SampledSuspect, sampler_processor, sampler_watermark
    from mergebarrier.evaluate.language.scores import (
        Perplexity,
        Score,
        answer_logits,
        answer_loss,
        exact_match,
        perplexity,
        row_tokens,
        unread,
    )
    from mergebarrier.evaluate.language.served import INTERFACES, ServedSuspect
    from mergebarrier.evaluate.language.sink import ModuleSink
    from mergebarrier.evaluate.language.suspect import ModuleSuspect, marks
    from mergebarrier.evaluate.language.tasks import TaskFile, TaskRow, read_task, read_text
    from mergebarrier.evaluate.language.unlabelled import TokenRows, prompt_rows, text_rows

__all__ = [
    "INTERFACES",
    "MIN_TOKENS",
    "Equality",
    "LossBarrier",
    "ModuleSink",
    "ModuleSuspect",
    "Perplexity",
    "SameAnswers",
    "SampledSuspect",
    "Score",
    "ServedSuspect",
    "TaskFile",
    "TaskRow",
    "TokenRows",
    "alike_logits",
    "answer_logits",
    "answer_loss",
    "barrier_curve",
    "check_vocabulary",
    "compare",
    "compare_answers",
    "exact_match",
    "hidden_states",
    "leading_tokens",
    "logit_blocks",
    "marks",
    "max_positions",
    "next_logits",
    "perplexity",
    "prompt_rows",
    "read_task",
    "read_text",
    "row_tokens",
    "sampler_processor",
    "sampler_watermark",
    "text_rows",
    "text_windows",
    "token_ids",
    "unread",
]

lazy.open_door(__name__)
