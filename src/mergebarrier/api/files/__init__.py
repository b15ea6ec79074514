"""Files of other kinds that models come in, made into folders that the other functions take."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.api.files.gguf_file import ImportReport, import_gguf, plan_import_gguf

__all__ = ["ImportReport", "import_gguf", "plan_import_gguf"]

lazy.open_door(__name__)
