"""What to make of a base before an adapter meets it, as its training did: a model of another class, of more rows.

    AutoModelFor..(BASE, num_labels)  ->  a head, drawn    the adapter holds the trained one  ->  nothing drawn is left

Source: what peft 0.21.2 asks of the module that it is put on.  Differs: peft is given a module, which somebody made so.
"""

import re

from mergebarrier.checkpoint.adapter.adapter import Adapter

#: task_type of peft -> the class whose head it trains.
_CLASSES = {
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
}
_LABELS = re.compile(r"(score|classifier|out_proj|summary)\.(weight|bias)$")
RESIZED = (
    "give the base with the rows that it had in training: resize_token_embeddings(ROWS), then save_pretrained(DIR); "
    "peft stores trained rows alone unless save_embedding_layers=True"
)


def first_as_class(adapter: Adapter, name: str) -> str:
    """Return the way out for a whole tensor that the base lacks, or has for other labels."""
    kind = _CLASSES.get(adapter.config.task_type)
    if kind is None:
        return "give the base that it was trained on, saved in the class that was trained, with this tensor"
    rows = next((info.shape[0] for one, info in adapter.whole.items() if _LABELS.search(one) and info.shape), None)
    labels = f", num_labels={rows}, ignore_mismatched_sizes=True" if rows and kind != _CLASSES["QUESTION_ANS"] else ""
    made = f"{kind}.from_pretrained(BASE{labels}).save_pretrained(DIR)"
    return f"make the base a model of its class first, as its training did: {made}, and give DIR"
