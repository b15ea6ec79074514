"""Watermarks in answers: words that a service weaves into what it says, and tests of who learned from that."""

from typing import TYPE_CHECKING

from mergebarrier import lazy

if TYPE_CHECKING:
    from mergebarrier.watermark.keyed_words import KeyedQuery, WordKey, commitment, listed_words
    from mergebarrier.watermark.ledger import (
        Ledger,
        LedgerHead,
        Query,
        Shielded,
        line_of,
        read_ledger,
        read_pairs,
        read_queries,
    )
    from mergebarrier.watermark.options import (
        GREEN,
        SAMPLED,
        SYNTHID,
        PairingOptions,
        RadioactivityOptions,
        ShieldOptions,
    )
    from mergebarrier.watermark.pairing import Asking, PairingTest, pairing_test
    from mergebarrier.watermark.published import PublishedTest, published_test
    from mergebarrier.watermark.radioactivity import RadioactivityTest, radioactivity_test
    from mergebarrier.watermark.request import keyed_request, own_words, plain_request, published_request
    from mergebarrier.watermark.sampling import SamplingKey
    from mergebarrier.watermark.score import covered, found_words

__all__ = [
    "GREEN",
    "SAMPLED",
    "SYNTHID",
    "Asking",
    "KeyedQuery",
    "Ledger",
    "LedgerHead",
    "PairingOptions",
    "PairingTest",
    "PublishedTest",
    "Query",
    "RadioactivityOptions",
    "RadioactivityTest",
    "SamplingKey",
    "ShieldOptions",
    "Shielded",
    "WordKey",
    "commitment",
    "covered",
    "found_words",
    "keyed_request",
    "line_of",
    "listed_words",
    "own_words",
    "pairing_test",
    "plain_request",
    "published_request",
    "published_test",
    "radioactivity_test",
    "read_ledger",
    "read_pairs",
    "read_queries",
]

lazy.open_door(__name__)
