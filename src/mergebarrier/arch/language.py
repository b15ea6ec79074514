r"""The language of tables: text that a person reads from top to bottom, and the families that it describes.

    family gemma3 of gemma3_text (tied, offset 1): Gemma3ForCausalLM     # name, model types, properties, classes
      example text, head_dim=16                     # arguments of a tiny model's configuration, beside the usual sizes
      refuse clip_qkv unless None: why              # settings of a configuration that the table does not describe
      select feed_forward_proj = None, 'relu'       # which of several tables of a class holds
      spell ^decoder\. => model.decoder.            # a stored name's other spelling
      with hidden_size=d_model, ROTARY=rotary_dim   # what the words of parts, and of the lines below, are here
      latents  u  signed partial  q_lora_rank, at layers.{i}.attn u., per g      # an axis: space, name, kind, size
      layers  j  num_decoder_layers                 # how many j there are; i counts num_hidden_layers
      model.layers.{i}.                             # goes before the names of the lines that are indented below it
        use blocks with ATTENTION=normed            # the lines of a part, which begins as ``part blocks with NAME=...``
        norm.*  d! -> mlp.{gate,up}_proj    {q,k}_proj.weight  (g q) d | (g q') d ?      # names and expressions

``x.*`` is ``x.weight`` and, where all layers have it, ``x.bias``, which has the rows of the weight.  A norm names the
readers behind it (->).  Of two declarations of an axis the first holds, so a table declares before it uses.  Columns
stand two spaces apart.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Final, get_args

from mergebarrier.arch.axes import SPACES, Axis, Kind
from mergebarrier.arch.family import Family

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
    "ROUTED": "mlp.gate mlp.{gate,up}_proj mlp.experts.{e}.{gate,up}_proj",
}
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
_PURPOSE: Final = {"query_key": "qk", "value_output": "vo", "heads": "heads", "experts": "experts"}
_UNEVEN: Final = "{} query heads cannot share {} key/value heads"
_BLOCK = re.compile(
    r"^(?P<what>family|part) (?P<name>\w+)(?: of (?P<types>[\w -]+))?(?: \((?P<has>[^)]*)\))?"
    r"(?: with (?P<words>[^#\n]*))?(?::(?P<classes>[^#\n]*(?:\n {4}[^\n]*)*))? *(?:#.*)?\n(?P<body>(?:(?: .*)?\n)*)",
    re.MULTILINE,
)
_CHOICE = re.compile(r"\{((?:[^{}]|\{\w+\})*,(?:[^{}]|\{\w+\})*)\}")
_FIRST = re.compile(r"\((?:[^()]|\([^()]*\))*\)|\S+")
_WORD = re.compile(r"(?<![\w.{,])[A-Za-z_]\w*|(?<=\{)\w(?=\})")
_COMPOUND = re.compile(r" (?:or|[*/+]) ")
Words = Mapping[str, str]


class FamilyTexts(Mapping[str, Family]):
    """Name -> family, read when it is first asked for; ``read`` holds those that were."""

    def __init__(self, *texts: str) -> None:
        """Find where tables and parts begin; nothing else is read yet."""
        found = [match for text in texts for match in _BLOCK.finditer(text)]
        self._parts = {match["name"]: match for match in found if match["what"] == "part"}
        self._families = {match["name"]: match for match in found if match["what"] == "family"}
        self.read: dict[str, Family] = {}

    def __getitem__(self, name: str) -> Family:
        """Return a family; ValueError, with the line, for a text that is not in the language."""
        if name not in self.read:
            self.read[name] = _TableReader(parts=self._parts).family(self._families[name])
        return self.read[name]

    def __iter__(self) -> Iterator[str]:
        """Go through the names, in the order of the texts."""
        return iter(self._families)

    def __len__(self) -> int:
        """Count the families."""
        return len(self._families)

    def of_type(self, model_type: object) -> list[Family]:
        """Return the families of a ``model_type``, and read no other."""
        found = self._families.items()
        return [self[name] for name, match in found if model_type in (match["types"] or name).split()]


@dataclass(frozen=True, kw_only=True)
class _TableReader:
    parts: Mapping[str, re.Match[str]]
    axes: dict[str, Axis] = field(default_factory=dict)
    tensors: dict[str, str] = field(default_factory=dict)
    folds: dict[str, tuple[str, ...]] = field(default_factory=dict)
    layers: dict[str, str] = field(default_factory=dict)
    said: dict[str, list[str]] = field(default_factory=dict)

    def family(self, block: re.Match[str]) -> Family:
        words = dict[str, str]()
        self.lines(block["body"], "", words)
        has = dict(one.partition(" ")[::2] for one in (block["has"] or "").split(", ") if one)
        refused = [re.fullmatch(r"(.*) unless (.*): (.*)", text) for text in self.said.get("refuse", ())]
        selects = [text.partition(" = ") for text in self.said.get("select", ())]
        return Family(
            name=block["name"],
            architectures=tuple(one for name in (block["classes"] or "").split() for one in _expand(name)),
            model_types=tuple((block["types"] or block["name"]).split()),
            axes=self.axes,
            tensors=self.tensors,
            layers={"i": _size("num_hidden_layers", words), **self.layers},
            spellings=tuple((old, new) for old, _, new in (s.partition(" => ") for s in self.said.get("spell", ()))),
            folds=self.folds,
            offset=float(has.get("offset", 0)),
            head="" if "headless" in has else has.get("head", "lm_head.weight"),
            tied="tied" in has,
            body=has.get("body", "model."),
            selects={key: ast.literal_eval(f"({values},)") for key, _, values in selects},
            dims={name: _size(text, words) for name, text in DIMS.items()},
            refused={_size(m[1], words): (ast.literal_eval(f"({m[2]},)"), m[3]) for m in refused if m},
            example=tuple(self.said.get("example", ())),
        )

    def lines(self, text: str, prefix: str, words: dict[str, str]) -> None:
        """Read the lines of a table or of a part; ``with`` lines change the words for those below."""
        above = [(-1, prefix)]
        for line in text.splitlines():
            columns = re.split(r"  +", line.partition("  #")[0].strip())
            indent = len(line) - len(line.lstrip())
            while indent <= above[-1][0]:
                above.pop()
            keyword, _, rest = " ".join(columns).partition(" ")
            if keyword == "with":
                words |= _given(rest, words)
            elif keyword in ("example", "refuse", "select", "spell"):
                self.said.setdefault(keyword, []).append(rest)
            elif keyword == "layers":
                name, _, count = rest.partition(" ")
                self.layers[words.get(name, name)] = _size(count, words)
            elif keyword in SPACES:
                self.axis(*columns, words=words)
            elif keyword == "use":
                self.use(rest, above[-1][1], words)
            elif len(columns) == 1 and keyword:
                above.append((indent, above[-1][1] + _placed(keyword, words)))
            elif keyword:
                for name, what in zip(columns[::2], columns[1::2], strict=True):
                    if what.startswith("use "):
                        self.use(what[4:], above[-1][1] + _placed(name, words), words)
                    else:
                        self.tensor(above[-1][1], name, what, words)

    def use(self, text: str, prefix: str, words: Words) -> None:
        name, _, given = text.partition(" with ")
        part = self.parts[words.get(name, name)]
        inner = {**words, **_given(given, words)}
        inner |= {word: value for word, value in _given(part["words"] or "", inner).items() if word not in inner}
        self.lines(part["body"], prefix, inner)

    def axis(self, space: str, name: str, kinds: str, rest: str, *, words: Words) -> None:
        size, *options = rest.split(", ")
        more = dict(option.partition(" ")[::2] for option in options)
        kind, *flags = _put(kinds, words).split()
        label, _, purpose = _put(more.get("at", "residual"), words).partition(" ")
        scope = (*re.findall(r"\{(\w)\}", label), *_put(more.get("per", ""), words).split())
        name = words.get(name, name)
        if name in self.axes:
            return
        self.axes[name] = Axis(
            kind=next(one for one in get_args(Kind) if one == kind),
            size=_size(size, words),
            scope=scope,
            space=space,
            stream=(label, purpose or _PURPOSE.get(space, "")),
            rotary=_size(more.get("rotary", ""), words),
            pairs="pairs" in flags,
            normed="normed" in flags,
            partial="partial" in flags,
            uneven=_UNEVEN if space == "heads" and "per" in more else "",
        )

    def tensor(self, prefix: str, name: str, what: str, words: Words) -> None:
        text, _, readers = what.partition(" ->")
        choices = [_put(one.strip(), words) for one in re.split(r"\|(?![^()]*\))", text)]
        for before in _expand(prefix):
            names = _expand(_placed(name, words))
            if len(choices) not in (1, len(names)):
                raise ValueError(f"{name}: {len(names)} names for {len(choices)} expressions")
            for one, choice in zip(names, choices * len(names) if len(choices) == 1 else choices, strict=True):
                stem, star, _ = (before + one).partition(".*")
                self.tensors[f"{stem}.weight" if star else stem] = choice
                if star:
                    expression, mark, key = choice.partition("?")
                    rows = _FIRST.findall(expression)[0]
                    rows = rows.rstrip("!") if rows == expression.strip() else rows
                    self.tensors[f"{stem}.bias"] = f"{rows} ?{key if mark else ''}"
                if readers and words.get("FOLDS") != "none":
                    found = (before + reader for text in _placed(readers, words).split() for reader in _expand(text))
                    self.folds[stem.removesuffix(".weight")] = tuple(found)


def _given(text: str, words: Words) -> dict[str, str]:
    pairs = (one.partition("=") for one in text.strip().split(", ") if one)
    return {name: _put(value, words) for name, _, value in pairs}


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
    return re.sub(r"(?<![\w.])(?!or\b)([A-Za-z_]\w*)", rf"{words['in']}.\1", found) if "in" in words else found


def _placed(name: str, words: Words) -> str:
    """Put words into the braces of a name."""

    def value(match: re.Match[str]) -> str:
        found = words.get(match[1], match[1])
        return f"{{{found}}}" if len(match[1]) == 1 else found

    return re.sub(r"\{(\w+)\}", value, name)


def _expand(name: str) -> list[str]:
    """Return the names of a{b,c}d."""
    pieces = _CHOICE.split(name)
    return ["".join(chosen) for chosen in product(*([p] if n % 2 == 0 else p.split(",") for n, p in enumerate(pieces)))]
