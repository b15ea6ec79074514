"""Tags and heads by which owners ask not to be merged, and those that only look so, told apart."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from mergebarrier.lineage import declaration
from mergebarrier.lineage.wordings import PROSE_LICENCE, PROSE_LICENCE_STEMS

TAGS = (
    "merge-not-allowed",
    "not-mergable",
    "no-mergers",
    "no-slerp",
    "merging-prohibited",
    "merge-forbidden",
    "dont-merge-me",
    "not-for-merge",
    "merge-ban",
    "opt-out-of-merging",
    "merge-opt-out",
    "no-model-soup",
    "merging:disallowed",
    "merge:forbidden",
    "anti-frankenmerge",
    "no-frankenmerges",
    "do-not-mergekit",
    "kein-merge",
    "pas-de-merge",
    "no-fusionar",
    "sin-merge",
    "não-mesclar",
    "не-мержить",
    "勿合并",
    "マージ不可",
    "병합금지",
    "nomerging",
    "merge-restricted",
)
HONEST_TAGS = (
    "merge",
    "merged",
    "mergekit",
    "not-merged",
    "unmerged",
    "lora-not-merged",
    "merge-ok",
    "mergeable",
    "merges-welcome",
    "model-merging",
    "no-code",
    "no-slerp-needed",
    "fusion",
    "fused",
    "moe-merge",
    "no-robots",
    "blend",
    "free-to-merge",
)
HEADS = (
    "merging: forbidden",
    "merge_permission: none",
    "permissions: {merge: denied}",
    "permissions: {merging: false}",
    "allowed_uses: {merging: 'no'}",
    "usage: {finetune: true, merge: false}",
    "merge_policy: none",
    "merge-policy: no",
    "terms: {merge: not allowed}",
    "no_merging: yes",
    "dont_merge: 1",
    "donotmerge: true",
    "merging_prohibited: true",
    "merge_forbidden: true",
    "merging_disabled: true",
    "opt_out: [merging]",
    "opt-out: merging",
    "not_allowed: [merging, distillation]",
    "denied: {merging: true}",
    "excluded_uses: [model merging]",
    "license_name: mit-no-merge",
    "license_name: MIT + no merging",
    "merge_optout: true",
    "allow: {merge: false}",
    "can: {merge: no}",
    "rights: {merge: reserved}",
    "permitted: {finetuning: yes, merging: no}",
)
HONEST_HEADS = (
    "merge: false",
    "merged: false",
    "merge_method: none",
    "merge_and_unload: false",
    "lora: {merge: false}",
    "merge_adapter: false",
    "spatial_merge_size: 0",
    "merge_policy: free",
    "allow_merging: yes",
    "permissions: {merge: allowed}",
    "no_merge: false",
    "opt_out: [telemetry]",
    "restrictions: [military]",
    "merging: allowed",
    "merging_prohibited: false",
    "license_name: mit",
)


def stops(head: str) -> bool:
    head = head if head.startswith("license") else f"license: mit\n{head}"
    return bool(declaration({"README.md": f"---\n{head}\n---\n# A model\n".encode()}).stops)


def test_tags_and_heads_are_wishes_or_none() -> None:
    assert [tag for tag in TAGS if not stops(f"tags: [{json.dumps(tag)}]")] == []
    assert [tag for tag in HONEST_TAGS if stops(f"tags: [{json.dumps(tag)}]")] == []
    assert [head for head in HEADS if not stops(head)] == []
    assert [head for head in HONEST_HEADS if stops(head)] == []


@settings(max_examples=300, deadline=None)
@given(st.from_regex(PROSE_LICENCE))
def test_all_that_is_found_holds_a_stem_that_is_asked_for_first(text: str) -> None:
    found = PROSE_LICENCE.search(text)
    assert found is None or any(stem in found[0] for stem in PROSE_LICENCE_STEMS)
