"""The fingerprints by name."""

from collections.abc import Mapping
from typing import Final

from mergebarrier.fingerprint.instructional import Instructional
from mergebarrier.fingerprint.mergeprint import MergePrint
from mergebarrier.fingerprint.method import FingerprintMethod

FINGERPRINTS: Final[Mapping[str, type[FingerprintMethod]]] = {
    "mergeprint": MergePrint,
    "instructional": Instructional,
}
