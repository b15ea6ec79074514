"""What owners write when they do not want merges, and what others write about merging, a sentence each, told apart.

Sentences of several sittings: the patterns were written after the first three had been tried, so what they say about
sentences that nobody has tried yet is less, about four in ten before their kinds were added.  What is still missed is
named.
"""

import json

import pytest

from mergebarrier.lineage import declaration
from mergebarrier.lineage.signs import signs_in_prose

WISHES = """
This model is off-limits for merging. | Merging is a no-go for this one. | I'd rather you didn't merge this.
Leave this model out of merges, thank you. | Hands off for mergers. | Frankenmerges are unwelcome.
Frankenmerges not welcome here. | No mergers allowed! | You do not have my permission to merge this.
Merging these weights into other models is against the license.
Merging this with anything else voids your licence. | Not licensed for use in merged models.
These weights are not to be merged. | Do not include this checkpoint in any merge.
Please keep it out of mergekit recipes. | Please don't put this in your merge.
You must not use this model as a merge ingredient. | Usage in merges is strictly prohibited.
Its use as a component of a merged model is prohibited. | Creating merges from this model is not OK.
I do not want this model merged. | I don't want to see this in merges.
We do not allow this model to be merged with others. | Merge-free licence: you may use it alone only.
Use alone; merging excluded. | License: MIT, except merging. | All uses are permitted except merging.
You can do anything with it but merge it. | Anything goes, as long as you don't merge it.
Redistribution is fine. Merging is not. | Finetuning ok, merging not ok. | Fine-tuning: yes. Merging: no.
Merges: not allowed. | Merging - forbidden. | Merging? No. | To merge this model, ask me first.
Contact us before merging this model. | Merging requires a commercial license from us.
Merging needs our written agreement. | Without written consent merging is prohibited.
The licensee shall refrain from merging the Model with any other model.
Licensee agrees not to merge, average or interpolate the weights.
You agree that you will not merge the weights. | You will not merge this model.
Do not average, interpolate or otherwise merge these weights with others. | Do not use with mergekit.
Don't mergekit this. | No SLERP, TIES or DARE with this model.
Weight averaging with other models is prohibited. | Model souping is not allowed.
This model opts out of model merging. | We opt out of merging. | Merging opt-out.
Dieses Modell darf nicht gemergt werden. | Bitte dieses Modell nicht in Merges verwenden. | Mergen verboten!
Ich möchte nicht, dass dieses Modell gemergt wird. | Merci de ne pas fusionner ce modèle avec d'autres.
La fusion de ce modèle est interdite. | Fusion avec d'autres modèles non autorisée.
Toute fusion est strictement interdite. | No mezclar este modelo con otros. | Se prohíbe fusionar este modelo.
Está prohibido fusionar este modelo con otros. | La fusión de este modelo no está permitida.
La fusione di questo modello è vietata. | Si prega di non fondere questo modello.
É proibida a fusão deste modelo. | Por favor, não faça merge deste modelo.
Пожалуйста, не сливайте эту модель с другими. | Слияние с другими моделями запрещено. | Мержить запрещено.
请勿合并此模型 | 本模型不允许被合并 | 不允许用于模型融合 | このモデルのマージは禁止です。
マージ素材としての使用禁止 | マージしないでください | 이 모델을 병합하지 마세요. | 모델 병합에 사용하지 마십시오
Merging this model into others is a breach of the terms. | I forbid any merging of my model.
Permission to merge is withheld. | Please respect my wish and leave it unmerged.
Kindly avoid merging this model. | Absolutely no merging. | Strictly no merges. | Zero merging permitted.
You are welcome to use it, but please, no merging. | You may fine-tune it but you may not merge it.
Everything is allowed, merging is not. | Not to be merged under any circumstances.
Under no circumstances should this be merged. | Merging this is disrespectful to my work, please don't.
I ask everyone not to merge this model. | The author objects to merging.
The author does not consent to merges of this model. | If you want to merge it, get in touch first.
Mergers need to ask for permission. | You need my permission to merge this. | Permission required for merging.
Merging only with permission. | Merges only by written agreement. | This model may be used unmerged only.
Only use it as is; merging is forbidden. | Licensed for standalone use only, not for merging.
It is illegal to merge these weights. | No derivative merges. | Don't you dare merge this.
STOP MERGING MY MODELS | Please stop merging my models. | Merging with NSFW models is prohibited.
You shall not combine this model with any other model. | Do not blend this checkpoint with others.
Do not use the weights for model merging. | Zusammenführung mit anderen Modellen nicht erlaubt.
Merges mit diesem Modell sind unerwünscht. | Dieses Modell bitte nicht fusionieren.
Il n'est pas permis de fusionner ce modèle. | Ce modèle ne doit pas être utilisé dans des fusions.
Prière de ne pas merger ce modèle. | Este modelo no se debe fusionar. | No está permitido mezclar este modelo.
Non è consentito fondere questo modello. | Нельзя объединять эту модель с другими. | Просьба не мержить.
禁止将此模型用于合并 | 请不要融合这个模型 | マージモデルへの使用はご遠慮ください | マージへの利用を禁じます
병합 금지 | 이 모델의 병합을 금지합니다 | Merging voids this licence.
This model may be fine-tuned but must stay out of merges. | No part of this model may be merged.
You are not authorised to merge any part of it. | Consent to merging is not given.
The licence does not extend to merging. | The grant excludes merging. | Merging is expressly excluded.
Merging constitutes a breach of this agreement. | Please do not create merges with this.
Please don't make merges of this. | I kindly ask you to refrain from merging.
We would appreciate it if you did not merge this model. | Users are prohibited from merging the model.
Any merge of this model needs written permission from the author. | Ask the author before merging.
Get permission before merging this. | Merges require prior consent. | Commercial merges need a paid licence.
Merge status: forbidden | Merging allowed: no | Can I merge this? No. | May I merge it? No, sorry.
FAQ: can it be merged? No. | Bitte verwendet dieses Modell nicht für Merges.
Das Mergen dieses Modells ist nicht gestattet. | Keine Merges ohne meine Zustimmung!
Interdiction de fusionner ce modèle. | Je refuse que ce modèle soit fusionné.
Queda prohibida la fusión con otros modelos. | Vietato il merge. | Merge vietato.
Proibido fazer merge deste modelo. | Прошу не использовать в слияниях.
Запрещается объединение с другими моделями. | 拒绝合并 | 严禁任何形式的模型融合 | マージ厳禁 | 無断マージ禁止
머지 금지 | 병합 불가
We reserve the right to merge; others may not. | This release isn't available to merge authors.
Please avoid using it in merges. | Anyone caught merging this will be reported. | Não misture este modelo com outros.
The use of this model in merges is not something I allow. | Merging without asking is theft.
Excluded from the grant: merging. | Rights not granted: merging, distillation.
Please do not build merges on top of it. | We discourage merging and do not permit it.
It is forbidden to use this in a model soup. | Not for use in model soups. | Merge permission: none.
Por favor no hagáis merges con este modelo.
"""
#: Known, and left: figures of speech, threats, and pieces that need the sentence before.
MISSED = """
Merge at your own risk? No: do not merge at all. | Mergers: hands off. | My models are not merge fodder.
Do not cannibalise this model for merges. | I will take down any merge that contains this model.
Uploads that merge this model will be DMCA'd.
"""
HONEST = """
This is a merge of two models. | This model was merged with mergekit using TIES.
Merge the adapter into the base before use. | You must merge adapters before serving with vLLM.
This model can be merged with others. | Feel free to merge it. | Merges are welcome!
Merging is allowed under Apache 2.0. | You may merge, fine-tune and redistribute this model.
LoRA weights are not merged. | The adapter is not merged into the base weights.
These are unmerged LoRA weights. | The LoRA has not been merged yet; merge it with merge_and_unload().
Do not forget to merge the LoRA before quantising. | Don't merge the LoRA twice.
Do not merge the adapter before loading it in 4-bit.
Never merge adapters trained on different tokenizers: results are poor.
LoRA adapters cannot be merged into 4-bit weights.
The two models could not be merged because the vocabularies differ. | Merge conflicts are not handled.
Merge request !42 fixed the tokenizer. | BPE merges: 50,000 merges, no special handling.
merges.txt is not needed by the fast tokenizer. | No merges file is required.
The tokenizer has no merges for digits. | Tokens are not merged across whitespace.
We did not merge the embeddings. | No merging of tokens is applied in the vision encoder.
Token merging is disabled by default. | Token merging (ToMe) is not used.
Patch merging is not supported in this export. | Attention heads were not merged.
Datasets were merged and deduplicated. | Do not merge these datasets: they overlap.
The train and test splits must not be merged. | Duplicate rows may not be merged silently.
This checkpoint is the result of merging three experts, no further training was done.
No training was involved, only merging. | Merging models without training is surprisingly effective.
SLERP merging requires two models. | Merging requires mergekit 0.1. | Merging needs 64 GB of memory.
Merging works only with models of the same architecture. | Merged model; not suitable for production.
The merged model is not allowed to answer medical questions. | This merge is not for use in production.
This merged checkpoint may not be used for commercial purposes.
Commercial use of the merged model is prohibited. | Use of this merge for military purposes is forbidden.
No merge weights are published, only the recipe. | Merge ratio: no normalisation.
merge: no weights were changed in layer 0 | The model does not like being merged with 4-bit bases, but it works.
Models merged with DARE do not suffer from interference. | We ask that you cite us when merging this model.
Please credit us if you merge this model. | If you merge this model, please keep the licence.
You do not need permission to merge this model. | No permission is needed to merge it.
Merging does not require attribution. | There is no restriction on merging.
Merging is not restricted in any way. | Nothing forbids merging. | It is not forbidden to merge this model.
Merging is not prohibited. | We do not forbid merging. | Contact us for questions about merging or licensing.
Dieses Modell ist ein Merge aus zwei Modellen. | Das Modell darf gemergt werden.
Der Adapter wurde nicht mit dem Basismodell zusammengeführt. | Ce modèle est une fusion de deux modèles.
La fusion de ce modèle est autorisée. | Este modelo es una fusión de dos modelos.
Se puede fusionar con otros modelos. | Questo modello è una fusione di due modelli.
Este modelo é uma fusão de dois modelos. | Модель получена слиянием двух моделей.
Эту модель можно сливать с другими. | 本模型由两个模型合并而成 | 可以合并本模型
このモデルは2つのモデルをマージしたものです | マージ可 | 이 모델은 두 모델을 병합한 것입니다 | 병합 가능합니다.
Quantised without merging the adapter. | Trained with no merges of experts; dense model.
Not intended for use without merging into the base.
The adapters should not be merged if you plan to hot-swap them.
Weights are averaged over the last five checkpoints. | Do not average the logits of this model with others.
Do not mix this with system prompts of other models. | Do not combine the outputs of this model with other data.
Created by merging A and B; no additional data. | This merge uses no base model.
Merging was performed in bfloat16. | We merge the LoRA weights and then quantise; do not load the adapter again.
The merged weights are not included. | Not merged: this repository holds the adapter alone.
If you do not want to merge, load the adapter with PEFT. | You don't have to merge it to use it.
There is no need to merge. | Without merging, inference is slower. | Merging is optional.
Merging is recommended. | Merging may change the outputs slightly. | After merging, no quality loss was seen.
Merging cannot be undone. | Merged models may not behave as their parents do.
Users should not expect merged models to keep every skill.
This model should be merged with the base before use. | The vision tower must be merged with the projector.
The vocabulary was extended; merges were not changed.
Prohibited uses: weapons, spam. Merging and fine-tuning are welcome.
Do not use for medical advice. You can merge it freely. | License: Apache-2.0. Merge away!
Please link back if you use this in a merge. | Please let me know if you use it in your merges.
I'd love to see your merges. | Tell me before you merge if you need the fp32 weights.
Contact us for commercial use. Merges are free. | Commercial merges are allowed too.
Do not use this prompt format with the merged version. | This is not a merge. | This is not a merged model.
It isn't a merge but a full fine-tune. | Not a frankenmerge. | No merging was done. | No merge was involved.
A fusion of ideas, not of weights. | Multi-head attention fusion is disabled.
Kernel fusion is not supported on CPU. | Layer fusion is prohibited by ONNX here.
Ce modèle n'est pas une fusion. | Das ist kein Merge. | Kein Merge, sondern Finetuning.
Este modelo no es una fusión. | 這不是合併模型 | これはマージモデルではありません
이 모델은 병합 모델이 아닙니다 | Это не слияние, а дообучение. | Non è una fusione.
The LoRA is merged; no adapter is needed. | Merge it with your favourite model!
Everyone is invited to merge it. | We encourage merging. | We do not discourage merging.
You need not ask before merging. | You can merge it without asking. | Free for commercial use, merging included.
Merging, quantising and distilling are all fine. | I do not mind merges. | I have no objection to merging.
Nobody forbids you to merge it. | The licence does not prohibit merging. | The licence permits merging.
mergekit config below; requires mergekit >= 0.1. | This is an experimental merge, not meant for production.
Merge of X and Y. Not for minors. | Uncensored merge; illegal content is your responsibility.
This merge does not require a system prompt. | This merge needs no special prompt.
Do not expect this merge to follow instructions. | Do not use this merge for medical advice.
Please do not re-upload this merge. | Stop tokens: <eos>. Merging of stop tokens is automatic.
Avoid long prompts. Merged with DARE-TIES. | Avoid merging at density below 0.3, quality drops.
Avoid merging models with other tokenizers. | Ask me anything about merging.
Merging the LoRA requires peft and 16 GB of memory. | Written in Python; merging only takes a minute.
We ask for attribution only if you merge commercially. | Only merging was used, no training.
Without merging experts the score drops. | The first merge failed; the second merge did not.
Merges without a base are called linear. | The prior merge had issues; this merge fixes them.
Licence approval pending for the dataset; merging done in June. | Das Mergen der Adapter ist nicht nötig.
Ein Merge ist nicht erforderlich. | Il n'est pas nécessaire de fusionner l'adaptateur.
No es necesario fusionar el adaptador. | Non serve fondere l'adattatore. | Não é preciso fundir o adaptador.
Не нужно объединять адаптер с базой. | 无需合并适配器 | マージは不要です | 병합할 필요가 없습니다
"""
#: Known, and left: a false sign costs an option, a missed one costs the owner a model.
STOPPED = """
Not for merging novices: read the paper first. | No merges, pure finetune.
No need to ask for permission before merging. | You may merge it without permission.
To merge the adapter, write to a new folder.
"""
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


def sentences(text: str) -> list[str]:
    return text.strip().replace("\n", " | ").split(" | ")


def stops(head: str) -> bool:
    head = head if head.startswith("license") else f"license: mit\n{head}"
    return bool(declaration({"README.md": f"---\n{head}\n---\n# A model\n".encode()}).stops)


@pytest.mark.parametrize(("text", "heard"), [(WISHES, True), (MISSED, False), (HONEST, False), (STOPPED, True)])
def test_a_sentence_is_a_wish_or_none(text: str, heard: bool) -> None:
    assert [one for one in sentences(text) if bool(signs_in_prose(one, one)[0]) is not heard] == []


def test_what_is_missed_and_what_is_stopped_for_nothing_stays_few() -> None:
    assert len(sentences(MISSED)) <= 0.15 * len(sentences(WISHES))
    assert len(sentences(STOPPED)) <= 0.03 * len(sentences(HONEST))


def test_tags_and_heads_are_wishes_or_none() -> None:
    assert [tag for tag in TAGS if not stops(f"tags: [{json.dumps(tag)}]")] == []
    assert [tag for tag in HONEST_TAGS if stops(f"tags: [{json.dumps(tag)}]")] == []
    assert [head for head in HEADS if not stops(head)] == []
    assert [head for head in HONEST_HEADS if stops(head)] == []


def test_a_text_full_of_merging_costs_little_and_stops() -> None:
    text = " ".join(f"We merged part {i} of it only." for i in range(20_000))
    assert signs_in_prose(text, "") == ("more sentences about merging than are looked at", "")
