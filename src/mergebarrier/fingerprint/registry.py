"""The fingerprints by name."""

from collections.abc import Mapping
from typing import Final

from mergebarrier.fingerprint.instructional import Instructional
from mergebarrier.fingerprint.mergeprint import MergePrint

FINGERPRINTS: Final[Mapping[str, type[MergePrint] | type[Instructional]]] = {
    kind.name: kind for kind in (MergePrint, Instructional)
}
