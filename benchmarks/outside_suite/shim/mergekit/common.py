"""References to models, parsed by our own parser of recipes."""

from dataclasses import dataclass
from typing import Any

from mergebarrier.errors import MergebarrierError
from mergebarrier.merge.recipe import recipe as recipes
from mergekit import internals


@dataclass(frozen=True)
class ModelPath:
    """A model and its revision."""

    path: str
    revision: str | None = None


@dataclass(frozen=True)
class ModelReference:
    """A model with an adapter or without."""

    model: ModelPath
    lora: ModelPath | None = None

    @classmethod
    def parse(cls, text: str) -> "ModelReference":
        """Read ``path[@revision][+lora[@revision]]`` as a recipe would."""
        document = f"merge_method: passthrough\nmodels: [{{model: '{text}'}}]".encode()
        try:
            (found,) = recipes.parse(document, "reference").references()
        except MergebarrierError as fault:
            raise RuntimeError(str(fault)) from fault
        lora = ModelPath(found.lora, found.lora_revision) if found.lora else None
        return cls(ModelPath(found.path, found.revision), lora)

    @classmethod
    def model_validate(cls, value: Any) -> "ModelReference":
        """Accept a reference or its text."""
        return value if isinstance(value, cls) else cls.parse(str(value))

    def __str__(self) -> str:
        """Return the text it was parsed from."""
        parts = [self.model, *([self.lora] if self.lora else [])]
        return "+".join(f"{part.path}@{part.revision}" if part.revision else part.path for part in parts)


__getattr__ = internals.attribute_of("mergekit.common")
