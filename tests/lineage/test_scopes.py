"""Wishes by their structure: sentences that were written before the rule, and honest ones, each told or named.

The first were written before anybody had read the rule: half of them tuned it and half judged it once.  Those after the
mark are of a third sitting in another voice; what the rule made of them at first is in the numbered page of attacks.
"""

from time import process_time

import pytest

from mergebarrier.lineage import declaration
from mergebarrier.lineage.scopes import refusal_in
from mergebarrier.lineage.signs import signs_in_prose

HEARD = """
I'd rather nobody merged this model. | We would appreciate it if you left this model out of merges.
Kindly refrain from blending these weights with others. | This checkpoint is off limits for frankenmerges.
Anyone planning to merge this should contact us first. | Merging requires our written consent.
You need my OK before putting this into a merge. | Merges of any kind are strictly prohibited.
These weights must stay intact; do not mix them into other models. | No frankenmerging, please.
Using this model as an ingredient of a merge is not permitted.
It is forbidden to combine the weights with those of other models. | Please keep this model out of mergekit recipes.
We do not consent to this model being merged. | The authors object to model merging.
We reserve the right to create merged models from these weights. | Merging this model with others violates our terms.
Weight averaging with other checkpoints is not allowed. | Do not include this model in model soups.
You may fine-tune it, but you may not merge it. | Fine-tuning is fine, merging is not.
All uses but merging are welcome. | Feel free to use it for anything except merges.
Everything is allowed apart from merging. | Merge rights are not granted. | No permission is given to merge.
Under no circumstances should this model be merged. | This model should never be used in a merge.
Never merge this with another model. | Stop merging my models! | Stop putting my models into your merges.
Merging is off the table. | Merging not welcome here. | I don't want to see this in merges.
I do not want this model in your frankenmerge. | Please ask before merging. | Ask me before you use this for a merge.
If you want to merge this model, email us. | For permission to merge please open a discussion.
Merging is subject to prior approval by the author. | Merging only with explicit permission.
Merges are allowed only with the consent of the authors. | You can't merge this. | Not for merging.
Not intended to be merged with other models. | This model isn't meant for merging.
This LoRA is not to be merged into any other checkpoint. | Do NOT bake this LoRA into your checkpoint.
Please don't bake this into a merged checkpoint and upload it.
Merging this LoRA into a model and re-uploading is prohibited. | Reuploads and merges are not allowed.
No reuploads, no merges. | No merges, no reselling. | Use in merges: not allowed | Merging: prohibited
Merging allowed? No. | Can I merge it? No. | Can this be merged? Please don't.
Respect the creator's decision not to have it merged. | We ask the community not to merge this release.
We kindly request that this model not be used in merges.
The licensee shall not merge the Model with any other model.
Licensee agrees not to combine the Weights with third-party weights.
You agree that you will not create merged versions of the Model.
You are prohibited from merging, blending or interpolating the Weights.
Interpolating these weights with others is a breach of this agreement.
Derivatives made by weight merging are excluded from this grant. | This licence does not cover merged models.
Redistribution of merges containing this model is prohibited. | You may not distribute merges that contain it.
Merged derivatives may not be published. | Please do not upload merges of this model.
Sharing merges made with this model is not okay. | It's not okay to merge this. | I am not okay with merging.
Merging makes me sad, so please don't. | Mergers, stay away. | Hands off, mergers!
Mergekit users: not this one please. | mergekit users are asked to skip this model.
Leave this one out of your merges. | Exclude this model from any merge. | This model is excluded from merging.
Consent to merge: withheld. | Merge permission: denied | Merge policy: none without permission
I revoke any permission to merge earlier versions. | The owners have opted out of merging. | Opt-out: model merging
We opt out of model merging. | This model has opted out of merges.
To preserve safety training, merging is disallowed. | Because merging breaks the safeguards, we disallow it.
Safety alignment is lost in merges, hence we ask you to refrain from them. | Please refrain from any merging.
Merging is discouraged. | We strongly discourage merging this model with unaligned models.
Merging with uncensored models is strictly off limits. | Do not combine with other models through task arithmetic.
Task vectors derived from this model may not be added to other models. | Do not extract a task vector from this model.
SLERP, TIES and DARE merges with this model are not permitted. | No slerp merges with this one, thanks.
Do not fuse this model with others. | Do not stitch layers of this model into another one.
Passthrough merges of this model are unwelcome. | Unauthorized merging is theft.
Unauthorised merges will be reported. | Merges will be taken down. | Any merge of this model will get a DMCA notice.
I will report merges. | We will pursue anyone who merges this model.
Merging without permission will have legal consequences. | Don't you dare merge this. | This is not a merge base.
Please don't use as a merge base. | Do not use as a component of model merges.
Do not use this as a merging ingredient. | This model must remain unmerged. | Keep it unmerged.
Only unmerged use is permitted. | Not to be used as merge fodder. | Don't merge this, damn it. | pls no merge
plz dont merge thx | Merging = no. | The only thing I ask: no merges. | One rule: no merging.
Usage: inference and finetuning only (no merging).
Allowed: use without credit. Not allowed: sell, merge, share merges. | You may not share merges using this model.
Do not use this model in checkpoint mixes. | Mixing this with other checkpoints is prohibited.
No mixing with other checkpoints. | I retain all rights to merges of this model.
Any merging requires attribution and a signed agreement. | Merging is a violation of the agreement you accepted.
By downloading you promise not to merge. | By accessing this model you agree to not merge it.
These weights are licensed for non-merging use. | The licence terminates upon merging.
Your licence ends if you merge. | Merging voids the warranty and your licence. | Merges infringe our rights.
Merging is theft. | We consider merging a misuse of this model. | Out-of-scope use: merging with other models.
Prohibited uses: merging, distillation. | Restrictions: no distillation, no merging, no redistribution.
Consent for model merging was not given. | Nobody is authorised to merge these weights.
Only the authors may merge this model. | All merging rights remain with us.
Bitte nicht mergen. | Das Zusammenführen mit anderen Modellen ist untersagt.
Ich möchte nicht, dass dieses Modell in Merges verwendet wird. | Merci de ne pas fusionner ce modèle.
La fusion de ce modèle avec d'autres est interdite. | Toute fusion est soumise à notre accord.
Prière de ne pas utiliser ce modèle dans une fusion. | Por favor, no fusionen este modelo.
Está prohibido mezclar este modelo con otros. | No se permite la fusión de los pesos.
Pide permiso antes de fusionar este modelo. | Por favor, não misture este modelo com outros.
É proibida a fusão deste modelo. | Si prega di non fondere questo modello con altri.
È vietata la fusione con altri modelli. | Niet samenvoegen met andere modellen, alsjeblieft.
Het mergen van dit model is niet toegestaan. | Пожалуйста, не объединяйте эту модель с другими.
Слияние с другими моделями запрещено. | Мержить эту модель нельзя. | 请勿合并此模型。 | 禁止将本模型与其他模型融合。
未经许可不得合并。 | このモデルをマージしないでください。 | マージ禁止
マージに使用する場合は事前に許可を取ってください。 | 이 모델을 병합하지 마세요. | 모델 병합 금지
Proszę nie łączyć tego modelu z innymi.
"""
MISSED = """
Use in merges: no. | Q: May I use it in a merge? A: No, sorry. | Respect my wish: this is not merge material.
No TIES, no DARE, no SLERP. | Merge it and I'll delete my account.
Author's note: if I find this in a merge, I stop releasing models.
This is a standalone finetune and should be used as such, not thrown into a merge pot. | Merging? Nope.
Permissions: generate images yes, sell images yes, merge no. | Please do not use in mixes.
This gate exists because people merged the previous version without asking; please do not.
Merged the last one without asking? Not this time. | Non-merge licence.
Dieses Modell darf nicht mit anderen Modellen verschmolzen werden. | Merges nur nach Rücksprache mit uns.
Bu modeli başka modellerle birleştirmeyin.
"""
PASSING = """
This is a merge of pre-trained language models created using mergekit.
This model was merged using the TIES merge method using Mistral-7B as a base.
The following models were included in the merge: | This model was merged with the SLERP method.
The adapter was not merged into the base model. | The LoRA weights have been merged into the base model.
Merged model for easier deployment; use the adapter repo if you do not want merged weights.
You don't need to merge the adapter yourself, it has already been merged. | Not a merge: this is a full fine-tune.
This model is not a merge. | This is a frankenmerge of two models and may not work well.
The merge was not trained any further. | No further training was done after the merge. | We did not merge the LoRA.
Merge your LoRA with the base model using merge_and_unload().
To use this adapter without merging, load it with PEFT.
Do not forget to merge the adapter before converting to GGUF.
Make sure that you merge the weights before quantization. | The tokenizer has 32k merges and no unknown tokens.
The BPE merges file is not included. | Please merge the split files before loading: cat part-* > model.gguf
llama.cpp can load split GGUF files, so there is no need to merge them.
We merged three datasets: Alpaca, Dolly and ShareGPT.
Duplicate rows were removed when the datasets were merged, so no row appears twice.
The training data is a mix of code and text, not filtered for toxicity.
The data mix does not contain any synthetic examples. | Do not expect a merge to be better than its parts.
I don't know why this merge works so well. | This merge should not be used for medical advice.
This merged model must not be used for illegal purposes. | Do not use this merge in production without testing.
The merged model is licensed under Apache-2.0, and you may not use the trademark.
Merging was done on CPU with no GPU needed. | Merging didn't help on MMLU. | My first merge, please be kind.
Please let me know if you merge this model, I'd love to see the results. | Feel free to merge this model.
Feel free to use this in your merges! | Merging is welcome and encouraged. | You may merge this model without asking.
You are free to merge, fine-tune and redistribute this model. | No restrictions on merging. | Merging allowed.
Merging is permitted for any purpose. | No permission is needed to merge this model.
Suitable for merging with other Mistral models. | Intended as a base for merges, not for direct use.
This model is meant for merging, not for inference. | Made for merging; I do not recommend it on its own.
Credits to the authors of the models in the merge.
Thanks to everyone whose models made this merge possible, I couldn't have done it without you.
If you use this merge, please cite the original models. | Please see the licence of the merged models before use.
The license of this merge is cc-by-nc-4.0 because one of the models is not for commercial use.
This merge contains models that are not allowed for commercial use. | Commercial use of this merge is not permitted.
Do not sell this merge. | Please do not reupload this merge. | Never trust the output of this merge.
Weights are merged at density 0.5 and weight 0.3. | The merge recipe is below. Don't change the order of the layers.
I did not tune the merge weights. | There is no guarantee that this merge is safe.
A merge of an uncensored model, so be careful: outputs are not filtered. | Not merged with any RP models.
No other model was merged into this one. | It does not contain any merged LoRA. | This is an unmerged LoRA adapter.
Load in 8 bit: do not call merge_and_unload on a quantized model.
You cannot merge a LoRA into a 4-bit model without dequantizing.
Merging LoRA weights into quantized base is not supported.
Merging adapters is not supported by vLLM for this architecture. | The script does not merge the vision tower.
Pull requests will be merged after review. | Please do not open PRs; changes are merged internally.
Our branch has not been merged into transformers main yet.
Support has been merged in llama.cpp, so no patch is needed.
Until the PR is merged, install transformers from source. | The fix has not been merged upstream.
Tokens are merged with ToMe, which does not need training. | Patch merging reduces the number of tokens without loss.
Adjacent entities are not merged by the pipeline.
Set aggregation_strategy to none if you do not want tokens to be merged.
Mixture-of-experts built with mergekit-moe, no training involved.
This MoE was made by combining four models; the router was not trained.
This model combines the strengths of both without extra training. | Combining both models did not hurt perplexity.
Blended from three checkpoints, none of which was trained on GSM8K.
Model soup of five runs; no single run was better.
We average the weights of the last ten checkpoints; early ones are not included.
Averaging was not applied to the embeddings. | EMA weights are not merged.
The two heads are fused and cannot be separated. | Flash attention with fused kernels is not required.
Use fuse_lora only if you do not change the scale afterwards. | Quantized versions of the merge are not available yet.
I have not tested the merge beyond 8k context. | This is an experimental merge, don't expect too much.
The merge does not refuse requests. | Merge of abliterated models; it never refuses.
It will not follow the prompt format of the second merged model.
Only the text backbone was merged; the vision encoder was left out.
Except for the embeddings, all layers were merged linearly. | Without the merge, the score is 3 points lower.
Before merging, both models were fine-tuned on the same data. | Before merging I asked the authors for permission.
The authors of both models permitted this merge. | Both parents allow merging under their licences.
The license allows you to use, modify, merge, publish, distribute and sublicense the model.
Permission is hereby granted to use, copy, modify, merge, publish and distribute the Software without restriction.
You can merge this adapter with any Llama-3 model, no matter the size.
If merging fails, you are probably using an old mergekit version.
When you merge, do not forget to copy the tokenizer. | Merge method: linear. Normalize: false. Base model: none.
Tags: merge, mergekit, not-for-all-audiences | - merge
We found that merged models never exceed the best parent by more than two points.
Model merging is not new; see Wortsman et al. | Merging methods fail when models do not share an initialisation.
The best merge of the week, no contest. | After many failed attempts the merge finally works.
This merge is uncensored; use it responsibly and do not share illegal content. | Merged at 50:50, nothing fancy.
Merge details below. | Please note that the merge was done in float32.
The merging process does not change the vocabulary. | Model stock merges do not need tuning of weights.
TIES resolves sign conflicts, which plain averaging does not.
We compare merging with fine-tuning and find no difference.
Merging improves robustness without extra cost at inference.
This is the unmerged LoRA; the merged model is in another repo.
You can find merged weights, GGUF and AWQ files in the links.
If you don't have enough VRAM, use the merged 4-bit version.
It is not recommended to run the merged model in fp16 because of overflow.
I would not recommend merging at weights above 1. | We do not provide merged weights for this adapter.
The merged checkpoint is not available for download yet. | The script merges shards, no GPU is required.
The dataset was merged and cleaned, no personal data remains.
Use the chat template of the first model; the merge has no template of its own.
Thanks to Charles Goddard for mergekit, without which this would not exist.
Merging guides say to keep density low; I ignored that. | This model may produce wrong answers, as any merge.
Never merged before? Start with the linear method. | This version fixes the broken merge from yesterday.
The merge is licensed under Llama 3 licence; you must not use it to break the law. | Contact us if you have questions.
Contact: open an issue, I answer questions about the merge there.
Evaluation of the merge was not done on gated benchmarks. | An attempt to merge four models; only three made it.
The blend keeps the style of A but not its refusals. | Mixed precision was not used.
The mix of languages is 60/40, no code. | Combine this with a good system prompt; there is no default one.
Do not combine temperature and min_p. | Fused attention is disabled for this model.
The models were averaged, not interpolated. | I tried merging both; it did not work.
Dieses Modell ist ein Merge aus drei Modellen.
Das Modell wurde mit mergekit zusammengeführt, ohne weiteres Training.
Der Adapter wurde nicht in das Basismodell gemergt. | Merges sind erlaubt und willkommen.
Die Gewichte wurden linear gemittelt; der Tokenizer wurde nicht verändert.
Ce modèle est une fusion de deux modèles réalisée avec mergekit.
La fusion a été faite sans entraînement supplémentaire. | Vous pouvez fusionner ce modèle librement.
Este modelo es una fusión de Mistral y Zephyr. | No hace falta fusionar el adaptador.
La fusión no mejora los resultados en español. | Este modelo é um merge feito com mergekit.
Questo modello è una fusione di due modelli. | Эта модель получена слиянием двух моделей.
Модель не дообучалась после слияния. | 本模型由两个模型合并而成。 | 该模型未经过额外训练，仅通过合并得到。
このモデルは二つのモデルをマージしたものです。 | マージ後の追加学習は行っていません。
이 모델은 두 모델을 병합한 것입니다.
"""
#: Known, and left: a false sign costs an option, a missed one costs the owner a model.
STOPPED = """
Do not use the unmerged shards directly. | Do not fuse the layers when exporting to ONNX.
All layers except the last were merged with TIES. | No LoRA merging tricks were used to get this score.
"""


def sentences(text: str) -> list[str]:
    return [one.strip() for line in text.strip().splitlines() for one in line.split(" | ")]


@pytest.mark.parametrize(("text", "heard"), [(HEARD, True), (MISSED, False), (PASSING, False), (STOPPED, True)])
def test_a_sentence_is_heard_by_its_structure(text: str, heard: bool) -> None:
    assert [one for one in sentences(text) if bool(signs_in_prose(one, one)[0]) is not heard] == []


def test_few_are_missed_and_few_are_stopped_for_nothing() -> None:
    assert len(sentences(MISSED)) <= 0.12 * len(sentences(HEARD))
    assert len(sentences(STOPPED)) <= 0.05 * len(sentences(PASSING))


def test_a_refusal_reaches_no_merge_of_another_paragraph() -> None:
    card = "# Prohibited uses\n\nWeapons\n\n- not for minors\n- merging of both experts, by hand\n\n| no | limit |\n"
    assert signs_in_prose(card, card) == ("", "")
    assert signs_in_prose("# Uses\n\n- we object\n  to merging\n", "- we object\n  to merging\n")[0]


@pytest.mark.parametrize("row", ["We merged part {i} of it. ", "Wir haben Teil {i} gemergt, schön. "])
def test_ten_megabytes_of_prose_about_merging_stop_in_two_seconds(row: str) -> None:
    card = ("".join(row.format(i=i) for i in range(10**7 // len(row)))).encode()

    def cost() -> float:
        begun = process_time()
        said = declaration({"README.md": card})
        assert said.do_not_merge or said.unread
        return process_time() - begun

    assert any(cost() < 2 for _ in range(3)), "the cheapest of three turns: a busy machine doubles one"


def test_a_long_sentence_costs_little() -> None:
    begun = process_time()
    for words in ("merging tokenizer not ", "permission if you can merge the ", "не wurde nicht in gemergt "):
        refusal_in(words * 2500)
    assert process_time() - begun < 2


def test_texts_beyond_a_bound_in_all_are_a_sign() -> None:
    said = declaration({f"LICENSE-{i}": b"word " * 110_000 for i in range(2)})
    assert "more text than" in said.do_not_merge
