"""Keys now; watermarks and fingerprints later."""

from mergebarrier.provenance.keys import Key, KeyStream, Streams

__all__ = ["Key", "KeyStream", "Streams"]
