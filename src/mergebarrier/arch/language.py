r"""The language of tables: text that a person reads from top to bottom, and the families that it describes.

    family gemma3 of gemma3_text (tied, offset 1): Gemma3ForCausalLM     # name, model types, properties, classes
      example text, head_dim=16                     # arguments of a tiny model's configuration, beside the usual sizes
      refuse clip_qkv unless None: why              # settings of a configuration that the table does not describe
      select feed_forward_proj = None, 'relu'       # which of several tables of a class holds
      spell ^{en,de}coder\. => model.{en,de}coder.  # a stored name's other spelling; braces as in names
      with hidden_size=d_model, ROTARY=rotary_dim   # what the words of parts, and of the lines below, are here
      with decoder                                  # ... as the part of that name declares them
      latents  u  signed partial  q_lora_rank, at layers.{i}.attn u., per g      # an axis: space, name, kind, size
      layers  j  num_decoder_layers                 # how many j there are; i counts num_hidden_layers
      model.layers.{i}.                             # goes before the names of the lines that are indented below it
        use blocks with ATTENTION=normed            # the lines of a part, which begins as ``part blocks with NAME=...``
        norm.*  d! -> mlp.{gate,up}_proj    {q,k}_proj.weight  (g q) d | (g q') d ?      # names and expressions

``x.*`` is ``x.weight`` and, where all layers have it, ``x.bias``, which has the rows of the weight.  A norm names the
readers behind it (->).  Of two declarations of an axis the first holds, so a table declares before it uses.  Columns
stand two spaces apart; a line that ends in a backslash goes on in the next.  What cannot be read is an error with its
line, for our own tables as for a file of somebody else; no text is ever run.
"""

import ast
import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Final

from mergebarrier.arch.axes import SPACES, Axis, bias_rows, declared, parsed
from mergebarrier.arch.family import LONGEST, Family, TableBlock, TableFault, tensor_line
from mergebarrier.errors import BadTable, clean
from mergebarrier.nearest import did_you_mean

#: Words that parts share; a table may set them, and the keys of its configuration, with ``with``.
STANDARD: Final[Mapping[str, str]] = {
    "HEAD_DIM": "head_dim or hidden_size / num_attention_heads",
    "KEY_HEADS": "num_key_value_heads or num_attention_heads",
    "PARTIAL": "rope_parameters.partial_rotary_factor or partial_rotary_factor",
    "ROTARY": "",
    "POSITIONS": "0",
    "VOCAB": "vocab_size",
    "ATTN": "layers.{i}.attn",
    "MLP": "layers.{i}.mlp",
    "ROUTED": "mlp.gate mlp.{gate,up}_proj mlp.experts.{e}.{gate,up}_proj mlp.experts.gate_up_proj",
}
_REFUSAL = re.compile(r"(?P<key>.+) unless (?P<values>.+): (?P<why>.+)")
_PROPERTIES: Final = ("tied", "headless", "offset", "head", "body")
_KEYWORDS: Final = ("with", "use", "layers", "example", "refuse", "select", "spell")
_CHOICE = re.compile(r"\{((?:[^{}]|\{\w+\})*,(?:[^{}]|\{\w+\})*)\}")
_NAME = re.compile(r"(?:[\w.]|\{\w\})+")
_WORD = re.compile(r"(?<![\w.{,])[A-Za-z_]\w*|(?<=\{)\w(?=\})")
_COMPOUND = re.compile(r" (?:or|[*/+]) ")
#: Most names of one line, and most parts that a family uses: no text makes us work for long.
_MOST_NAMES, _MOST_USES = 256, 256
_SEE: Final = "docs/add_a_family.md shows a table"
#: Names that people use for the sizes of a model.
DIMS: Final[Mapping[str, str]] = {
    "hidden": "hidden_size",
    "mlp_width": "intermediate_size",
    "vocab": "VOCAB",
    "n_layers": "num_hidden_layers",
    "positions": "POSITIONS",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "KEY_HEADS",
    "head_dim": "HEAD_DIM",
}
Words = Mapping[str, str]


def read_table(block: TableBlock, parts: Mapping[str, TableBlock]) -> Family:
    """Return the family that a block describes; BadTable, with the line, for a text that is not in the language."""
    reader, words = _TableReader(parts=parts, places={"": block.at}), dict[str, str]()
    reader.lines(block, "", words)
    try:
        return reader.family(block.head, words)
    except ValueError as fault:
        name = fault.name if isinstance(fault, TableFault) else ""
        raise BadTable(str(fault), where=reader.places[name], remedy=_SEE) from fault


@dataclass(frozen=True, kw_only=True)
class _TableReader:
    parts: Mapping[str, TableBlock]
    axes: dict[str, Axis] = field(default_factory=dict)
    tensors: dict[str, str] = field(default_factory=dict)
    folds: dict[str, tuple[str, ...]] = field(default_factory=dict)
    layers: dict[str, str] = field(default_factory=dict)
    spellings: list[tuple[str, str]] = field(default_factory=list)
    selects: dict[str, tuple[object, ...]] = field(default_factory=dict)
    refused: dict[str, tuple[tuple[object, ...], str]] = field(default_factory=dict)
    example: list[tuple[str, str]] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    uses: list[str] = field(default_factory=list)

    def family(self, head: re.Match[str], words: Words) -> Family:
        has = dict(one.partition(" ")[::2] for one in (head["has"] or "").split(", ") if one)
        _known("a property", has, _PROPERTIES)
        if not head["classes"] or not any(axis.is_stream for axis in self.axes.values()):
            raise ValueError("a family names its classes behind a colon, and an axis that is the `residual` stream")
        return Family(
            name=head["name"],
            architectures=tuple(one for name in (head["classes"] or "").split() for one in _expand(name)),
            model_types=tuple((head["types"] or head["name"]).split()),
            axes=self.axes,
            tensors=self.tensors,
            layers={"i": _size("num_hidden_layers", words), **self.layers},
            spellings=tuple(self.spellings),
            folds=self.folds,
            offset=float(has.get("offset", 0)),
            head="" if "headless" in has else has.get("head", "lm_head.weight"),
            tied="tied" in has,
            body=has.get("body", "model."),
            selects=self.selects,
            dims={name: _size(text, words) for name, text in DIMS.items()},
            refused=self.refused,
            places=self.places,
            example=tuple(self.example),
        )

    def lines(self, block: TableBlock, prefix: str, words: dict[str, str], used_at: str = "") -> None:
        """Read the lines of a table or of a part; ``with`` lines change the words for those below.

        Mistakes in a part of another text are said to be where it is used.
        """
        above = [(-1, prefix)]
        for place, line in block.lines:
            at = used_at or place
            indent = len(line) - len(line.lstrip())
            while indent <= above[-1][0]:
                above.pop()
            try:
                self.line(at, re.split(r"  +", line.strip()), above[-1][1], words)
            except (ValueError, SyntaxError, re.error) as fault:
                what = f"{fault.msg} in {line.strip()!r}" if isinstance(fault, SyntaxError | re.error) else str(fault)
                raise BadTable(what, where=at, remedy=_SEE) from fault
            if line.endswith(".") and "  " not in line.strip():
                above.append((indent, above[-1][1] + _placed(line.strip(), words)))

    def line(self, at: str, columns: list[str], prefix: str, words: dict[str, str]) -> None:
        keyword, _, rest = " ".join(columns).partition(" ")
        if keyword == "with":
            words |= _given(self.parts[rest].head["words"] or "" if rest in self.parts else rest, words)
        elif keyword == "example":
            self.example.append((at, rest))
        elif keyword == "spell":
            old, _, new = rest.partition(" => ")
            for pattern, replacement in zip(_expand(old), _expand(new), strict=True):
                re.compile(f"{pattern}|").sub(replacement, "")
                self.spellings.append((pattern, replacement))
        elif keyword == "select":
            key, _, values = rest.partition(" = ")
            self.selects[_size(key, {})] = ast.literal_eval(f"({values},)")
        elif keyword == "refuse":
            refusal = _REFUSAL.fullmatch(rest)
            if refusal is None:
                raise ValueError("a refusal reads `refuse KEY unless VALUE, VALUE: why`")
            self.refused[_size(refusal["key"], words)] = ast.literal_eval(f"({refusal['values']},)"), refusal["why"]
        elif keyword == "layers":
            name, _, count = rest.partition(" ")
            self.layers[words.get(name, name)] = _size(count, words)
        elif keyword in SPACES:
            self.axis(columns, words)
        elif keyword == "use":
            self.use(at, rest, prefix, words)
        elif len(columns) % 2 == 0:
            for name, what in zip(columns[::2], columns[1::2], strict=True):
                if what.startswith("use "):
                    self.use(at, what[4:], prefix + _placed(name, words), words)
                else:
                    self.tensor(at, prefix, name, what, words)
        elif len(columns) > 1 or not keyword.endswith(".") or rest:
            near = did_you_mean(keyword, (*_KEYWORDS, *SPACES))
            raise ValueError(f"{columns[-1]!r} is a name without an expression two spaces behind it{near}")

    def use(self, at: str, text: str, prefix: str, words: Words) -> None:
        name, _, given = text.partition(" with ")
        name = words.get(name, name)
        _known("a part", [name], self.parts)
        self.uses.append(name)
        if len(self.uses) > _MOST_USES:
            raise ValueError(f"more than {_MOST_USES} parts are used, the last of them {name}; does one use itself?")
        part = self.parts[name]
        inner = {**words, **_given(given, words)}
        inner |= {word: value for word, value in _given(part.head["words"] or "", inner).items() if word not in inner}
        alien = part.at.rpartition(":")[0] != at.rpartition(":")[0]
        self.lines(part, prefix, inner, at if alien else "")

    def axis(self, columns: list[str], words: Words) -> None:
        if len(columns) != 4:
            raise ValueError(f"an axis has four columns (space, name, kind, size), not {len(columns)}")
        space, name, kinds, rest = columns
        size, *options = rest.split(", ")
        more = {word: _put(value, words) for word, _, value in (option.partition(" ") for option in options)}
        more["rotary"] = _size(more.get("rotary", ""), words)
        self.axes.setdefault(words.get(name, name), declared(space, _put(kinds, words), _size(size, words), more))

    def tensor(self, at: str, prefix: str, name: str, what: str, words: Words) -> None:
        text, _, readers = what.partition(" ->")
        choices = [_put(one.strip(), words) for one in re.split(r"\|(?![^()]*\))", text)]
        for before in _expand(prefix):
            names = _expand(_placed(name, words))
            if len(choices) not in (1, len(names)):
                raise ValueError(f"{name}: {len(names)} names for {len(choices)} expressions")
            for one, choice in zip(names, choices * len(names) if len(choices) == 1 else choices, strict=True):
                stem, star, _ = (before + one).partition(".*")
                stored = {f"{stem}.weight": choice, f"{stem}.bias": bias_rows(choice)} if star else {stem: choice}
                if not all(map(_NAME.fullmatch, stored)):
                    raise ValueError(f"{stem!r} is not the name of a tensor")
                for tensor, expression in stored.items():
                    tensor_line(tensor, expression)
                self.tensors.update(stored)
                if readers and words.get("FOLDS") != "none":
                    found = (before + reader for text in _placed(readers, words).split() for reader in _expand(text))
                    self.folds[stem.removesuffix(".weight")] = tuple(found)
                self.places.update(dict.fromkeys((*stored, stem.removesuffix(".weight")), at))


def _known(what: str, names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{name!r} is not {what}{did_you_mean(name, known)}")


def _given(text: str, words: Words) -> dict[str, str]:
    """Return the words of A=x, B=y."""
    found = {}
    for one in text.strip().split(", "):
        name, equals, value = one.partition("=")
        if one:
            found[name] = _put(value, words)
        if one and not (equals and name.isidentifier() and len(found[name]) <= LONGEST):
            raise ValueError(f"{clean(one)!r} is not WORD=VALUE, or it is too long")
    return found


def _put(text: str, words: Words) -> str:
    """Replace the words of a text; those of STANDARD may be made of others."""

    def value(match: re.Match[str]) -> str:
        if match[0] in words:
            found = words[match[0]]
        elif match[0] in STANDARD:
            found = _put(STANDARD[match[0]], words)
        else:
            return match[0]
        return f"({found})" if _COMPOUND.search(found) and match[0] != text else found

    return _WORD.sub(value, text)


def _size(text: str, words: Words) -> str:
    """Return an expression over keys of the configuration, or of its table ``in``."""
    found = _put(text, words)
    if "in" in words:
        found = re.sub(r"(?<![\w.])(?!or\b)([A-Za-z_]\w*)", rf"{words['in']}.\1", found)
    if found:
        parsed(found)
    return found


def _placed(name: str, words: Words) -> str:
    """Put words into the braces of a name."""

    def value(match: re.Match[str]) -> str:
        found = words.get(match[1], match[1])
        return f"{{{found}}}" if len(match[1]) == 1 else found

    return re.sub(r"\{(\w+)\}", value, name)


def _expand(name: str) -> list[str]:
    """Return the names of a{b,c}d."""
    pieces = [piece.split(",") if n % 2 else [piece] for n, piece in enumerate(_CHOICE.split(name))]
    if math.prod(map(len, pieces)) > _MOST_NAMES:
        raise ValueError(f"{name!r} stands for more than {_MOST_NAMES} names")
    return ["".join(chosen) for chosen in product(*pieces)]
