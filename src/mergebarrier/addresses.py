"""How browsers, paths, snippets and package URLs write a model of the Hub: the one pattern that every reader uses.

    https://huggingface.co/OWNER/NAME/tree/REVISION/..   hf://OWNER/NAME@REVISION   pkg:huggingface/OWNER/NAME@REVISION

Source: the addresses of huggingface.co, the paths of huggingface_hub, the package-url specification. Groups: ``name``,
and the revision as ``of`` or ``at``; a path has lost one slash of two.
"""

import re
from typing import Final

ADDRESS: Final = re.compile(
    r"(?:(?:https?:/{1,2})?(?:www\.)?(?:huggingface\.co|hf\.co)/|hf:/{1,2}(?:models/)?|pkg:huggingface/)"
    r"(?!(?:datasets|spaces)/)(?P<name>[^/@?#]+(?:/[^/@?#]+)?)"
    r"(?:@(?P<of>[^/?#]+)|/(?:tree|blob|resolve|raw|commit)/(?P<at>[^/?#]+)(?:/[^?#]*)?)?/*(?:[?#].*)?",
    re.IGNORECASE,
)
