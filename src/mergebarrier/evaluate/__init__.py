"""The only room that runs a model: loads it without obeying it, scores it, compares it, walks between two of them."""

from mergebarrier.evaluate._barrier import Barrier, barrier_curve
from mergebarrier.evaluate._compare import Equality, compare
from mergebarrier.evaluate._encoders import Encoder, encoder_tensors, load_encoder, save_encoder
from mergebarrier.evaluate._forward import hidden_states, logit_blocks, token_ids
from mergebarrier.evaluate._image_folders import read_image_folder
from mergebarrier.evaluate._image_scores import accuracy, image_logits, pixels, predict
from mergebarrier.evaluate._image_tasks import TASK_SUFFIX, ImageSplit, ImageTask, read_image_task, write_image_task
from mergebarrier.evaluate._intervals import wilson
from mergebarrier.evaluate._load import load_module, load_tokenizer, tokenizer_of
from mergebarrier.evaluate._prose import CHECK_TEXT
from mergebarrier.evaluate._scores import Perplexity, Score, exact_match, perplexity
from mergebarrier.evaluate._sentences import load_sentence_encoder
from mergebarrier.evaluate._sink import ModuleSink, parameter_names
from mergebarrier.evaluate._tail import Tail
from mergebarrier.evaluate._tasks import TaskFile, TaskRow, read_task, read_text
from mergebarrier.evaluate._text_heads import TEMPLATES, names_head, text_head
from mergebarrier.evaluate._unlabelled import Rows, prompt_rows, text_rows

__all__ = [
    "CHECK_TEXT",
    "TASK_SUFFIX",
    "TEMPLATES",
    "Barrier",
    "Encoder",
    "Equality",
    "ImageSplit",
    "ImageTask",
    "ModuleSink",
    "Perplexity",
    "Rows",
    "Score",
    "Tail",
    "TaskFile",
    "TaskRow",
    "accuracy",
    "barrier_curve",
    "compare",
    "encoder_tensors",
    "exact_match",
    "hidden_states",
    "image_logits",
    "load_encoder",
    "load_module",
    "load_sentence_encoder",
    "load_tokenizer",
    "logit_blocks",
    "names_head",
    "parameter_names",
    "perplexity",
    "pixels",
    "predict",
    "prompt_rows",
    "read_image_folder",
    "read_image_task",
    "read_task",
    "read_text",
    "save_encoder",
    "text_head",
    "text_rows",
    "token_ids",
    "tokenizer_of",
    "wilson",
    "write_image_task",
]
