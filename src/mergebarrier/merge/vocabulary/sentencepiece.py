"""The pieces of a sentencepiece model with the numbers that the class of its tokenizer gives them; nothing is run.

    field 1 of the file is a piece, field 1 of a piece its text
    numbers = head, the pieces from ``skipped`` on, tail;   then the special tokens that the class has by default

Source: the protobuf of sentencepiece; the converters of transformers 5.23, by class.  Differs: a class that is not in
the table is refused by its name, because what its rows stand for is not known.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mergebarrier.errors import BadRecipe, clean
from mergebarrier.merge.vocabulary.faults import bad_tokenizer

FILES = (
    "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "spm.model", "sentencepiece.model",
)  # fmt: skip
FAIRSEQ = ("<s>", "<pad>", "</s>", "<unk>")
_MBART = (
    "ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV my_MM ne_NP nl_XX"
    " ro_RO ru_RU si_LK tr_TR vi_VN zh_CN"
).split()
_MBART50 = (
    "af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN mn_MN mr_IN pl_PL ps_AF pt_XX sv_SE sw_KE ta_IN"
    " te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI"
).split()
_BERT = {"bos": "[CLS]", "eos": "[SEP]", "sep": "[SEP]", "cls": "[CLS]", "mask": "[MASK]"}


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """What a class makes of the pieces: tokens before and behind them, and special tokens that it adds if they lack."""

    head: tuple[str, ...] = ()
    skipped: int = 0
    tail: tuple[str, ...] = ()
    special: Mapping[str, str]


_PLAIN = {"unk": "<unk>", "bos": "<s>", "eos": "</s>"}
_IN_PLACE = _Layout(special=_PLAIN)
_ROBERTA = _Layout(head=FAIRSEQ, skipped=3, tail=("<mask>",), special={})
_LAYOUTS: Mapping[str, _Layout] = {
    "LlamaTokenizer": _IN_PLACE,
    "CodeLlamaTokenizer": _IN_PLACE,
    "TokenizersBackend": _Layout(special={}),
    "GemmaTokenizer": _Layout(
        special={"unk": "<unk>", "bos": "<bos>", "eos": "<eos>", "pad": "<pad>", "mask": "<mask>"}
    ),
    "XLMRobertaTokenizer": _ROBERTA,
    "LayoutXLMTokenizer": _ROBERTA,
    "CamembertTokenizer": _Layout(
        head=("<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED"),
        skipped=1,
        tail=("<mask>",),
        special=_PLAIN,
    ),
    "MBartTokenizer": _Layout(head=FAIRSEQ, skipped=3, tail=(*_MBART, "<mask>"), special={}),
    "MBart50Tokenizer": _Layout(head=FAIRSEQ, skipped=3, tail=(*_MBART, *_MBART50, "<mask>"), special={}),
    "BarthezTokenizer": _Layout(special={**_PLAIN, "pad": "<pad>", "mask": "<mask>"}),
    "T5Tokenizer": _Layout(special={"eos": "</s>", "unk": "<unk>", "pad": "<pad>"}),
    "XLNetTokenizer": _Layout(special={**_PLAIN, "sep": "<sep>", "pad": "<pad>", "cls": "<cls>", "mask": "<mask>"}),
    "BigBirdTokenizer": _Layout(special={**_PLAIN, "sep": "[SEP]", "pad": "<pad>", "cls": "[CLS]", "mask": "[MASK]"}),
    "DebertaV2Tokenizer": _Layout(special={**_BERT, "unk": "[UNK]", "pad": "[PAD]"}),
    "RemBertTokenizer": _Layout(special={**_BERT, "unk": "<unk>", "pad": "<pad>"}),
    "ReformerTokenizer": _Layout(special={"eos": "</s>", "unk": "<unk>"}),
}
_CLASSES = {
    "llama": "LlamaTokenizer", "mistral": "LlamaTokenizer", "mixtral": "LlamaTokenizer", "gemma": "GemmaTokenizer",
    "gemma2": "GemmaTokenizer", "gemma3": "GemmaTokenizer", "gemma3_text": "GemmaTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer", "camembert": "CamembertTokenizer", "t5": "T5Tokenizer", "mt5": "T5Tokenizer",
    "umt5": "T5Tokenizer", "deberta-v2": "DebertaV2Tokenizer", "xlnet": "XLNetTokenizer", 
    "big_bird": "BigBirdTokenizer", "rembert": "RemBertTokenizer", "reformer": "ReformerTokenizer",
}  # fmt: skip


def numbered(
    data: bytes, where: Path, settings: Mapping[str, object], config: Mapping[str, object]
) -> tuple[dict[str, int], dict[str, str]]:
    """Return token -> number of a sentencepiece model, and the special tokens that its class has by default.

    Args:
      data:     of the file.
      where:    the file, for messages.
      settings: tokenizer_config.json; it names the class,
      config:   or config.json implies it.
    Raises: BadRecipe when the file is not what it should be, or of a class that is not in the table.
    """
    chosen = settings.get("tokenizer_class") or _CLASSES.get(str(config.get("model_type")))
    kind = str(chosen or config.get("model_type")).removesuffix("Fast")
    layout = _LAYOUTS.get(kind)
    if layout is None:
        what = f"how {clean(kind)} numbers the pieces of this file is not known here"
        remedy = (
            "save the model with its fast tokenizer, as tokenizer.json, or leave tokenizer out, which merges row by row"
        )
        raise BadRecipe(what, where=where, remedy=remedy)
    pieces = list(_pieces(data, where))
    tail = _sentinels(settings) if kind == "T5Tokenizer" else layout.tail
    numbers: dict[str, int] = {}
    for number, token in enumerate([*layout.head, *pieces[layout.skipped :], *tail]):
        numbers[token] = number
    return numbers, {f"{role}_token": token for role, token in layout.special.items()}


def _sentinels(settings: Mapping[str, object]) -> list[str]:
    asked = settings.get("extra_ids", 100)
    count = asked if type(asked) is int and 0 <= asked <= 10_000 else 100
    return [f"<extra_id_{number}>" for number in reversed(range(count))]


def _pieces(data: bytes, where: Path) -> Iterator[str]:
    for field, body in _fields(data, where):
        if field == 1 and isinstance(body, bytes):
            text = next((part for number, part in _fields(body, where) if number == 1), None)
            if not isinstance(text, bytes):
                raise bad_tokenizer("a piece has no text", where)
            yield text.decode(errors="replace")


def _fields(data: bytes, where: Path) -> Iterator[tuple[int, bytes | None]]:
    """Yield (number, bytes or None) of the fields of a protobuf message."""
    at = 0

    def whole() -> int:
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(data) or shift > 63:
                raise bad_tokenizer("not a sentencepiece model", where)
            byte = data[at]
            at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    while at < len(data):
        key = whole()
        kind = key & 7
        size = whole() if kind == 2 else {1: 8, 5: 4}.get(kind, 0)
        if kind == 0:
            whole()
        elif kind not in (1, 2, 5) or at + size > len(data):
            raise bad_tokenizer("not a sentencepiece model", where)
        yield key >> 3, data[at : at + size] if kind == 2 else None
        at += size
