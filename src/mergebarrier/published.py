"""Words by which a model with polynomials in its feed-forward network is known, without what computes it.

``modeling_mergebarrier`` is published as a file that stands alone, so it says the same two words for itself, and it
needs torch; what only looks at a folder does not.
"""

from typing import Final

#: The key of config.json that holds the polynomials.
PLAN: Final = "mergebarrier_ffn"
#: The file in the folder that computes them.
MODELING: Final = "modeling_mergebarrier.py"
