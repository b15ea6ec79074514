"""Read mergekit's YAML key by key, and refuse by name whatever is unknown or not built yet.

    models: [...]                          one slice over all layers; a base that is not listed joins it
    slices: [{sources: [...]}]             the layers of the output, run after run
    modules: {NAME: {models | slices}}     the same for each named part of the model

Source: mergekit 0.1.5. Differs: what mergekit ignores without a word (unknown keys) is an error here; what this
release does not do yet is refused by its name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from mergebarrier.checkpoint.bytes import FLOAT_NAMES, strict_yaml
from mergebarrier.errors import LOGIN, BadRecipe, clean
from mergebarrier.merge.recipe.schema import (
    ModelReference,
    Parameters,
    Recipe,
    RecipeModule,
    Slice,
    SliceSource,
    Tokenizer,
    TokenRow,
    TokenRule,
)
from mergebarrier.merge.recipe.values import parse_scalar, parse_setting, whole
from mergebarrier.nearest import did_you_mean

_TOP = (
    "merge_method", "models", "slices", "modules", "base_model", "parameters", "dtype", "out_dtype", "tokenizer",
    "tokenizer_source", "chat_template", "random_seed", "mergebarrier",
)  # fmt: skip

_MOST_PADDING = 2**20


def parse(text: bytes, where: object) -> Recipe:
    """Read a recipe.

    Args:
      text:  the YAML file.
      where: its name, for errors.
    Raises: BadRecipe (names key and nearest), LimitExceeded.
    """
    documents = [one for one in strict_yaml.read_documents(text, where) if one is not None]
    if len(documents) > 1:
        remedy = "give one file per merge, without a name, and the output folder of one as a model of the next"
        raise BadRecipe(f"{len(documents)} documents in one file, and one output folder", where=where, remedy=remedy)
    return _RecipeParser(str(where)).recipe(documents[0] if documents else None)


@dataclass(frozen=True)
class _RecipeParser:
    where: str

    def fail(self, place: str, what: str, remedy: str) -> NoReturn:
        raise BadRecipe(what, where=f"{self.where}: {place}" if place else self.where, remedy=remedy)

    def table(self, value: object, place: str, known: Sequence[str]) -> dict[str, object]:
        """Check that ``value`` is a table of known keys; a key without a value counts as absent."""
        if not isinstance(value, dict):
            self.fail(place, "not a table of keys and values", f"the keys are {', '.join(known)}")
        for key in value:
            if key not in known:
                what = f"unknown key {clean(key)!r}{did_you_mean(key, known)}"
                below = "; what a method takes goes below parameters" if "parameters" in known else ""
                self.fail(place, what, f"the keys are {', '.join(known)}{below}")
        return {key: item for key, item in value.items() if item is not None}

    def rows(self, value: object, place: str) -> list[object]:
        if not isinstance(value, list) or not value:
            self.fail(place, "not a list, or an empty one", "give a list with one entry per line, each after '- '")
        return value

    def text(self, value: object, place: str) -> str:
        if not isinstance(value, str) or not value.strip():
            self.fail(place, f"{clean(repr(value))} is not text", "put it into quotes")
        return value

    def recipe(self, document: object) -> Recipe:
        if isinstance(document, dict) and "experts" in document and "merge_method" not in document:
            self.fail("experts", "a mixture of dense models is not made here", "make it with mergekit-moe")
        top = self.table(document, "", _TOP)
        if "merge_method" not in top:
            self.fail("", "merge_method is missing", "add a line such as merge_method: linear")
        bodies = [key for key in ("models", "slices", "modules") if key in top]
        if len(bodies) != 1:
            found = " and ".join(bodies) or "none of them"
            self.fail("", f"a recipe has models, slices or modules; this one has {found}", "give exactly one")
        base = self.reference(top["base_model"], "base_model") if "base_model" in top else None
        return Recipe(
            method=self.text(top["merge_method"], "merge_method"),
            modules=self.modules(top["modules"]) if "modules" in top else (self.body(None, top),),
            parameters=self.parameters(top, ""),
            base=base,
            dtype=self.dtype(top, "dtype"),
            out_dtype=self.dtype(top, "out_dtype"),
            tokenizer=self.tokenizer(top),
            chat_template=self.text(top["chat_template"], "chat_template") if "chat_template" in top else None,
            seed=self.seed(top),
            extra=self.extra(top.get("mergebarrier", {})),
        )

    def modules(self, value: object) -> tuple[RecipeModule, ...]:
        if not isinstance(value, dict) or not value:
            self.fail("modules", "not a table of modules", "give NAME: {models: ...}, or use models")
        found = []
        for name, body in value.items():
            inner = self.table(body, f"modules.{name}", ("models", "slices", "parameters"))
            if ("models" in inner) == ("slices" in inner):
                self.fail(f"modules.{name}", "needs either models or slices", "give exactly one")
            found.append(self.body(name, inner))
        return tuple(found)

    def body(self, name: str | None, inner: dict[str, object]) -> RecipeModule:
        whole, place = "models" in inner, "" if name is None else f"modules.{name}."
        slices = self.models(inner["models"], place) if whole else self.slices(inner["slices"], place)
        return RecipeModule(name, slices, whole, self.parameters(inner, place[:-1]) if name is not None else {})

    def models(self, value: object, within: str) -> tuple[Slice, ...]:
        sources = []
        for index, row in enumerate(self.rows(value, f"{within}models")):
            place = f"{within}models[{index}]"
            item = self.table(row, place, ("model", "parameters"))
            sources.append(SliceSource(self.model(item, place), None, self.parameters(item, place)))
        return (Slice(tuple(sources)),)

    def slices(self, value: object, within: str) -> tuple[Slice, ...]:
        slices = []
        for index, row in enumerate(self.rows(value, f"{within}slices")):
            place = f"{within}slices[{index}]"
            item = self.table(row, place, ("sources", "parameters", "base_model"))
            listed = enumerate(self.rows(item.get("sources"), f"{place}.sources"))
            sources = tuple(self.source(source, f"{place}.sources[{i}]") for i, source in listed)
            lengths = [stop - start for start, stop in (source.layers for source in sources if source.layers)]
            if len(set(lengths)) > 1:
                self.fail(place, f"its sources have {lengths} layers", "give each source of a slice equally many")
            base = self.reference(item["base_model"], f"{place}.base_model") if "base_model" in item else None
            slices.append(Slice(sources, self.parameters(item, place), base))
        return tuple(slices)

    def source(self, value: object, place: str) -> SliceSource:
        item = self.table(value, place, ("model", "layer_range", "parameters"))
        layers = item.get("layer_range")
        found = [whole(number) for number in layers] if isinstance(layers, list) else []
        numbers = [number for number in found if number is not None]
        if not len(numbers) == len(found) == 2 or not 0 <= numbers[0] < numbers[1]:
            what = f"layer_range is {clean(repr(layers))}"
            self.fail(
                place, what, "give two whole numbers, the first layer and the one after the last, such as [0, 16]"
            )
        return SliceSource(self.model(item, place), (numbers[0], numbers[1]), self.parameters(item, place))

    def model(self, item: dict[str, object], place: str) -> ModelReference:
        if "model" not in item:
            self.fail(place, "names no model", "add model: FOLDER")
        return self.reference(item["model"], f"{place}.model")

    def reference(self, value: object, place: str) -> ModelReference:
        if isinstance(value, dict):
            item = self.table(value, place, ("model", "lora"))
            model, revision = self.path(item.get("model"), f"{place}.model")
            lora, lora_revision = self.path(item["lora"], f"{place}.lora") if "lora" in item else (None, None)
            text = f"{model}{'@' + revision if revision else ''}{'+' + lora if lora else ''}"
            text += f"@{lora_revision}" if lora_revision else ""
            return ModelReference(text, model, revision, lora, lora_revision)
        text = self.text(value, place)
        if LOGIN.search(text):
            self.fail(place, f"{clean(text)!r} logs in to an address", "give a folder, or owner/name of the Hub")
        model, _, lora = text.partition("+")
        path, _, revision = model.partition("@")
        lora, _, lora_revision = lora.partition("@")
        if "+" in lora + lora_revision or "@" in revision + lora_revision:
            self.fail(place, f"{clean(text)!r} has too many + or @", "write path[@revision][+lora[@revision]]")
        return ModelReference(text, path, revision or None, lora or None, lora_revision or None)

    def path(self, value: object, place: str) -> tuple[str, str | None]:
        if isinstance(value, dict):
            item = self.table(value, place, ("path", "revision"))
            revision = self.text(item["revision"], f"{place}.revision") if "revision" in item else None
            return self.text(item.get("path"), f"{place}.path"), revision
        return self.text(value, place), None

    def parameters(self, item: dict[str, object], place: str) -> Parameters:
        place = f"{place}.parameters" if place else "parameters"
        given = item.get("parameters", {})
        if not isinstance(given, dict):
            self.fail(place, "not a table of keys and values", "give name: value pairs")
        return {name: parse_setting(value, f"{self.where}: {place}.{clean(name)}") for name, value in given.items()}

    def dtype(self, top: dict[str, object], key: str) -> str | None:
        if key not in top:
            return None
        name = self.text(top[key], key).removeprefix("torch.")
        if name not in FLOAT_NAMES:
            self.fail(
                key,
                f"unknown dtype {clean(name)!r}{did_you_mean(name, FLOAT_NAMES)}",
                f"one of {', '.join(FLOAT_NAMES)}",
            )
        return FLOAT_NAMES[name]

    def seed(self, top: dict[str, object]) -> int | None:
        """Return ``random_seed``, which recipes made by tools hold; mergekit itself passes over it."""
        said, own = top.get("random_seed"), top.get("mergebarrier")
        if said is None:
            return None
        seed = whole(said)
        if seed is None or not 0 <= seed < 2**63:
            self.fail("random_seed", f"{clean(repr(said))} is not a seed", "give a whole number from 0 to 2^63 - 1")
        if isinstance(own, dict) and own.get("seed", seed) != seed:
            self.fail("random_seed", "mergebarrier.seed is another one", "give one of them")
        return seed

    def tokenizer(self, top: dict[str, object]) -> Tokenizer | None:
        if "tokenizer" in top and "tokenizer_source" in top:
            self.fail(
                "tokenizer", "tokenizer and tokenizer_source mean the same and exclude each other", "give one of them"
            )
        if "tokenizer" not in top:
            old = top.get("tokenizer_source")
            return None if old is None else Tokenizer(self.vocabulary(old, "tokenizer_source"))
        item = self.table(top["tokenizer"], "tokenizer", ("source", "tokens", "pad_to_multiple_of"))
        source = self.vocabulary(item.get("source", "union"), "tokenizer.source")
        tokens = item.get("tokens", {})
        if not isinstance(tokens, dict):
            self.fail("tokenizer.tokens", "not a table of tokens", "give TOKEN: {source: MODEL}")
        rules = {token: self.token(rule, f"tokenizer.tokens.{clean(token)}") for token, rule in tokens.items()}
        padding = item.get("pad_to_multiple_of")
        multiple = whole(padding)
        if padding is not None and (multiple is None or not 1 <= multiple <= _MOST_PADDING):
            what = f"{clean(repr(padding))} is not a number of rows"
            self.fail("tokenizer.pad_to_multiple_of", what, f"give a whole number, 1 to {_MOST_PADDING}")
        return Tokenizer(source, rules, multiple)

    def vocabulary(self, value: object, place: str) -> ModelReference | str:
        if value in ("base", "union"):
            return str(value)
        text = value.removeprefix("model:") if isinstance(value, str) else value
        return self.reference(text, place)

    def token(self, value: object, place: str) -> TokenRule:
        item = self.table(value, place, ("source", "force"))
        force = item.get("force", False)
        if not isinstance(force, bool):
            self.fail(f"{place}.force", f"{clean(repr(force))} is not true or false", "give one of them")
        return TokenRule(self.row(item["source"], f"{place}.source") if "source" in item else None, force)

    def row(self, value: object, place: str) -> TokenRow:
        if not isinstance(value, dict) or "kind" not in value:
            return TokenRow("model", self.reference(value, place))
        if value["kind"] == "zero":
            self.table(value, place, ("kind",))
            return TokenRow("zero")
        if value["kind"] != "model_token":
            self.fail(f"{place}.kind", f"unknown kind {clean(repr(value['kind']))}", "one of zero, model_token")
        item = self.table(value, place, ("kind", "model", "token", "token_id"))
        number = item.get("token_id")
        if ("token" in item) == ("token_id" in item) or (number is not None and type(number) is not int):
            self.fail(place, "needs either token, a text, or token_id, a number", "give exactly one")
        token = str(item["token"]) if "token" in item else None
        return TokenRow("model_token", self.model(item, place), token, number)

    def extra(self, value: object) -> dict[str, object]:
        if not isinstance(value, dict):
            self.fail("mergebarrier", "not a table of keys and values", "give name: value pairs")
        return {name: parse_scalar(item, f"{self.where}: mergebarrier.{clean(name)}") for name, item in value.items()}
