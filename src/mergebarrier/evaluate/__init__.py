"""The only room that runs a model: loads it without obeying it, scores it, compares it, walks between two of them."""

from mergebarrier.evaluate._barrier import Barrier, barrier_curve
from mergebarrier.evaluate._compare import Equality, compare
from mergebarrier.evaluate._forward import hidden_states, logit_blocks, token_ids
from mergebarrier.evaluate._intervals import wilson
from mergebarrier.evaluate._load import load_module, load_tokenizer
from mergebarrier.evaluate._scores import Perplexity, Score, exact_match, perplexity
from mergebarrier.evaluate._sink import ModuleSink
from mergebarrier.evaluate._tasks import TaskFile, TaskRow, read_task, read_text

__all__ = [
    "Barrier",
    "Equality",
    "ModuleSink",
    "Perplexity",
    "Score",
    "TaskFile",
    "TaskRow",
    "barrier_curve",
    "compare",
    "exact_match",
    "hidden_states",
    "load_module",
    "load_tokenizer",
    "logit_blocks",
    "perplexity",
    "read_task",
    "read_text",
    "token_ids",
    "wilson",
]
