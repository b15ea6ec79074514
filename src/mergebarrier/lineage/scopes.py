"""A wish not to be merged by its structure: a word that refuses, or asks for consent, in whose scope a merge stands.

    a wish = an act of merging, and within a few words of it, in its own sentence, a refusal or a request
    no wish = the merge that the card describes (this merge, was merged), another object (tokens, rows, adapters into
              their base), or a refusal that is itself denied (no permission needed, do not hesitate)

Wordings are without number, and words that refuse are few: `wordings.py` knows sentences, this file knows scopes, and
either is a sign.  Source: scopes of negation as NegEx reads them in clinical notes (Chapman et al., 2001: a trigger
reaches up to so many words).  Differs: an act has two sides, with other triggers on each.
"""

import re
from typing import Final

#: Words on either side of an act that its refusal may be away.
_BEFORE: Final = 8
_AFTER: Final = 10
_MODEL = r"(?:models?|weights?|checkpoints?|loras?|releases?|parameters|task vectors?|layers)"
_THING = (
    r"(?:datasets?|data|rows?|files?|branch(?:es)?|prs?|pull requests?|splits?|columns|tables|tokens?|heads?|shards?"
    r"|entit\w+|documents?|cells?|spans?|words?|boxes|masks?|images?|kernels?|operators?|changes|commits?"
    r"|patch(?:es)?"
    r"|vocab\w*|vision tower|embeddings?|conflicts?|logits|prompts?|outputs?|answers?|scores?|losses|texts?"
    r"|templates?|languages?|experiments?|experts?)"
)
_ADAPTER = r"(?:adapters?|loras?|peft|qlora|deltas?)"
#: Said of what was done, of this merge as a thing, and of acts that are granted: all this is read past.
_PASSED = re.compile(
    r"\b(?:no|not|nor|neither|without|zero) (?:\w+ ){0,2}?(?:restrictions?|limit(?:ation)?s?|conditions|objections?"
    r"|problem|guarantee)\b|\bwithout (?:asking|permission needed|any permission)\b"
    r"|\b(?:no|any|without) (?:\w+ ){0,2}?(?:permission|consent|licen[sc]e|approval)(?: to merge| for merging)?"
    r" (?:is |are )?(?:needed|required|necessary)\b"
    r"|\b(?:do not|dont|does not|doesnt|should not|must not|need not|neednt|cannot|never|no)"
    r" (?:need(?: (?:\w+ ){0,2}?(?:permission|consent|licen[sc]e|approval))?"
    r"|have(?! (?:\w+ ){0,3}?(?:right|permission|consent|licen[sc]e)\b)|forget|fail|hesitate|worry|expect|know"
    r"|mean|recall)\b(?: to (?:\w+ )?(?:merge|ask\w*))?"
    r"|\bif (?:you|one|they) (?:do not|dont|cannot|cant|never) (?:\w+ ){0,3}?merg\w+|\bwithout merging\b"
    r"|\bno merg(?:es|ing) (?:of (?!this|these|it|my|our|any)|was|were|is (?:done|needed|required|necessary"
    r"|involved)|needed|required|involved)\b|\b(?:tokenizer|bpe)\b.{0,80}?\bmerges\b"
    r"|\bnot an? (?:\w+ ){0,2}?(?:franken)?merged?\b(?! (?:base|ingredient|component|material))"
    r"|\bavoid merging (?!this|it|these|our|my|$)|\bmerging (?:at|above|below) "
    rf"|\b(?:{_THING}|adapters) (?:can|must|may|should|will|could)(?: not|not) be (?:\w+ )?merged\b"
    r"|\b(?:protect\w*|defen[cs]e\w*|resist\w*|robust\w*) (?:\w+ )?(?:against|from)\b|\bneed not (?:ask"
    r"|merge)\b|\bno need (?:\w+ ){0,4}?(?:merg\w+|ask\w*)|\bpermission (?:notice )?(?:is )?(?:hereby )?granted\b"
    r"|\b(?:not|nor|never|nobody|nothing|no one|dont|doesnt|isnt|arent) (?:forb\w+|prohibit\w*|bann?\w*"
    r"|unwelcome|illegal"
    r"|disallow\w*|oppos\w+|exclud\w+|discourag\w+|mind|objects?)\b(?: (?:you|anyone|others))?(?: (?:to|from))?"
    r"|\b(?:i|we) (?:have )?(?:asked|got|obtained|received) (?:\w+ ){0,4}?(?:permission|consent|leave|approval)?\b"
    r"|\b(?:did|does|do|was|were|has|have|had|is|are|am) (?:not|never) (?:been )?(?=(?:\w+ly )?merged?\b)"
    r"|\b(?:i|we|they|it) (?:do not|dont|did not|didnt|never) (?=(?:\w+ )?merge\b)"
    r"|\b(?:(?:un)?merged|(?:the|no) merge) weights?\b"
    r"|\b(?:un)?merged? (?:branch|config|method|recipe|script|file|txt|and unload|kit)s?\b(?! (?:is"
    r"|are) not (?:all|per))"
    rf"|\bmerg(?:e|es|ing|ed) (?:\w+ ){{0,3}}?{_THING}\b|\b{_THING} (?:to be |are |is |were "
    rf"|was )?(?:not )?merg(?:e|es|ing|ed)\b"
    rf"|\bmerg(?:e|ing) (?:(?:the|a|an|your|these|this|lora|trained|peft|quantized) ){{0,3}}{_ADAPTER}\b"
    r"(?! (?:\w+ ){0,6}?(?:other|another|any|third party|else|prohib\w+|forbid\w+|allowed|permitted|upload\w*"
    r"|reupload\w*))"
)
#: What is done to models by whoever reads it.
_MIXING = (
    r"(?:blend|mix|fuse|combine|stitch|interpolate|average|bake|splice)|(?:blend|mix|fus|combin|stitch"
    r"|interpolat|bak)ing"
    r"|(?:weight|model|checkpoint) (?:averaging|soups?|souping|blending|fusion|interpolation)|model soups?|slerp|ties"
    r"|(?:in|into|for) (?:\w+ ){0,2}mixes|dare(?! you)|task arithmetic|task vectors?|passthrough"
)
_ACT = re.compile(
    r"\b(?:(?:franken|re)?merging|(?:franken|re)merges?|(?<!bpe )(?<!k )(?:merges|mergers)(?! files?\b)"
    r"|frankenmerging|mergekit"
    r"|merge (?:rights?|permissions?|policy|material|base|ingredients?|components?)|merge it and"
    r"|(?:to|can|may|not|never|or|and|dont|please|must|shall|should|cannot|cant|nobody|anyone|who|no|but|you"
    r"|stop|dare|ever|do|reservedly|kindly|will|would) (?:\w+ly )?merge(?! of| method| requests?| is| was)"
    r"|(?:in|for|into|as|any|part of) (?:an?|any|your|other|another|further|model|someones?|new) ?(?:model )?merges?"
    r"|any (?:\w+ )?merge|(?:in|into|for) merge|be(?:ing)? (?:\w+ )?merged|nobody (?:\w+ )?merged"
    r"|(?:want|see|have|like|having|prefer|wish) (?:\w+ ){1,4}merged"
    r"|(?<!this )(?<!the )(?<!these )(?<!our )merged (?:models?|versions?|derivatives?|checkpoints?|copies)"
    r"|unauthori[sz]ed merge)\b"
)
_MIX = re.compile(rf"\b(?:{_MIXING})\b")
_ABOUT_MODELS = re.compile(rf"\b(?:{_MODEL}|this|it|these)\b")
_ABOUT_THINGS = re.compile(rf"\b{_THING}\b")
_GRANT = (
    r"(?:allow|permit|authori[sz]|licen[sc]|consent|agree|want|wish|okay|ok|grant|welcome|accept|intend"
    r"|meant|available|fine|approv|endorse|support the)\w*"
)
#: Refusals that reach forward, to an act behind them.
_REFUSES = re.compile(
    rf"\b(?:do not|dont|does not|doesnt|am not|is not|isnt|are not|arent|not|never|cannot"
    rf"|cant) (?:\w+ ){{0,2}}?{_GRANT}"
    r"|\b(?:(?:do not|dont|never|not be) (?:use[d]?|includ\w+|put|add|see)|(?:does|do) not (?:cover|extend to"
    r"|include)|do ?not|dont|never|(?:may|must|shall|should|can|will|would|could) (?:not|never)|cannot|cant"
    r"|(?:must|should|would|wo)nt|not to|nobody|no one|stop|refrain\w*|abstain\w*|avoid|skip|exclud\w+"
    r"|except\w*|apart from"
    r"|(?:anything|everything|all uses|all) but|other than|forb\w+|prohibit\w*|disallow\w*|bann?\w*|objects?"
    r"|oppose[sd]?"
    r"|discourage[sd]?|declines?|refuses?|revok\w+|den(?:y|ied|ies)|off limits|unwelcome|hands off|stay away"
    r"|opt\w* out|out of|illegal|unlawful|violat\w+|breach\w*|unauthori[sz]ed|against|reserves?|not for|not an?|no"
    r"|not okay|rather nobody"
    r"|to not|non(?= merg)|only (?:the )?(?:authors?|owners?|creators?|we|i)|retains? (?:\w+ ){0,2}rights"
    r"|(?:licen[sc]e|agreement|rights?) (?:\w+ )?(?:terminates?|ends?|expires?|lapses?)|not as|prior|permission"
    r"|consent|approval|leave to|my ok|our ok|excluded|withheld|under no circumstances|will report|pursue|sue)\b"
)
#: Of those, words that mean little where they stand far from the act.
_WEAK: Final = frozenset({"no", "not a", "not an", "out of", "against", "dont", "do not", "cannot", "cant", "never"})
_NEAR: Final = 4
#: Letters that those words have at most.
_REACH: Final = 200
#: Requests, which reach forward too, unless they are for something else than leave.
_ASKS = re.compile(r"\b(?:asks?|contact|e?mail|write to|message|dm|notify|inform)\b")
_CREDIT = re.compile(r"\b(?:cit\w+|credit\w*|attribut\w+|questions?|feedback|results?|help|anything|mention|link)\b")
#: Refusals that reach back, to an act before them.
_REFUSED = re.compile(
    rf"(?:is|are|be)? ?(?:not|never|isnt|arent) (?:\w+ ){{0,2}}?{_GRANT}"
    r"|\b(?:forb\w+|prohibit\w*|disallow\w*|bann?\w*|discouraged|den(?:y|ied)|withheld|off limits|off the table"
    r"|unwelcome|excluded|reserved|illegal|unlawful|violat\w+|breach\w*|theft|stealing|reported|removed on sight"
    r"|taken down|dmca|takedown"
    r"|legal (?:action|consequences)|subject to|only (?:with|after|by|upon) (?:\w+ ){0,4}?(?:permission|consent"
    r"|approval|licen[sc]e|agreement|ok)|requires? (?:\w+ ){0,3}?(?:permission|consent|"
    r"approval|licen[sc]e|agreement|ok)|needs? (?:\w+ ){0,3}?(?:permission|consent|approval|licen[sc]e|agreement|ok)"
    r"|without (?:\w+ ){0,3}?(?:permission|consent|approval|licen[sc]e|agreement)|please ?(?:do not|dont)"
    r"|(?:ask|contact|e?mail|message|write to) (?:\w+ )?(?:me|us|the|first|before)|stay away|not this one|skip this"
    r"|infring\w+|misuse\w*|voids?|terminat\w+|rights (?:remain|are reserved|stay)|opt(?:ed)? out|none without"
    r"|^ ?(?:no|nope)\b|may not be\b|must not be\b|(?:is|are) not\s*$|sad|please no\b)"
)
_UNMERGED = re.compile(
    r"\b(?:keep|stay|remain|leave|only|left|must|use|used) (?:\w+ ){0,3}?unmerged\b|\bunmerged (?:use )?only\b"
)
#: The same in other languages that put blanks between words: acts, refusals on either side of them, and before them.
_ACT_ELSEWHERE = re.compile(
    r"\b(?:(?:ge)?mergen|gemergt|mergt|verschm[eo]l[zt]\w*|(?:zusammen|zusammenzu)f[üu]hr\w+|fusionier\w+"
    r"|fusionn\w+|(?<!layer )(?<!kernel )(?<!operator )fusion"
    r"|fusión|fusione|fus[aã]o|fusionar\w*|fusionen?|fundir|fondere|unire|mezcl\w+|mescl\w+|mescol\w+|mistur\w+"
    r"|merge[arz]\w*|samen\w*voeg\w*|слия\w+|слив\w+|объедин\w+|мер[дж]\w+|łącz\w+|scal\w+|birleştir\w+|merges?"
    r"|merging)\b"
)
_REFUSAL_ELSEWHERE = re.compile(
    r"\b(?:untersagt|verboten|unzulässig|(?:un|nicht )erwünscht|nicht (?:gestattet|erlaubt)|nur (?:nach|mit)"
    r"|rücksprache"
    r"|zustimmung|genehmigung|interdit\w*|prière de|soumise?s?|autorisation|(?:notre|mon) accord|prohib\w+|permiso"
    r"|no (?:se permite|est[aá] permitid\w|autoriza\w*)|consentimiento|proibi\w+|autorização|permissão|vietat\w"
    r"|permesso|consenso|niet (?:toegestaan|gewenst)|verboden|toestemming|запре\w+|нельзя|разрешени\w+|согласи\w+"
    r"|zakaz\w*|zabron\w+|yasak\w*|nicht dass|не разреш\w+|(?:demande[rz]|pide|peça|chiedere|bitte fragen) )"
)
_BARE_REFUSAL_ELSEWHERE = re.compile(
    r"\b(?:(?<!wurde )(?<!wurden )(?<!ist )(?<!sind )nicht|keine?|niemals|ne pas|de ne|n?e? ?pas|não|non|niet"
    r"|geen|не|nie)\b"
)
#: What is asked for needlessly, in those languages.
_NEEDLESS = re.compile(
    r"\b(?:keine? \w+ (?:nötig|erforderlich|notwendig)|ohne (?:\w+ )?(?:rücksprache|genehmigung|zustimmung"
    r"|einschränkung\w*)|sans (?:autorisation|demander)|sin (?:permiso|restricciones)|sem (?:permissão|restrições)"
    r"|senza (?:permesso|restrizioni)"
    r"|без (?:разрешения|ограничений)|(?:не (?:нужно|надо|требуется)|после) \w+|(?:nest|est|non|não"
    r"|no) (?:pas )?(?:\w+ )?"
    r"(?:nécessaire|besoin|serve|bisogno|preciso|necesario|necessario)(?: d?e?\w* ?\w+)?|(?:nach|après"
    r"|después de|depois d\w|dopo)"
    r" (?:\w+ )?\w+|не слияние|non (?:è )?una fusione|pas une fusion|no es una fusión|não é uma? \w+|kein merge"
    r"|keine fusion|no hace falta|nicht (?:nötig|notwendig|verboten|untersagt)|не запре\w+)\b"
)
#: Words of English too, of which a bare refusal of another language says nothing.
_ENGLISH: Final = frozenset({"fusion", "merge", "merges", "merging"})
_ACT_UNSPACED = r"(?:合并|合併|融合|マージ|統合|병합|머지)"
_REFUSAL_UNSPACED = (
    r"(?:禁止|严禁|嚴禁|不得|请勿|請勿|勿|不可|不允许|不允許|拒绝|未经(?!过)|未經(?!過)|须经|需经|しないで|しては|ないこと|遠慮|禁じ|厳禁|不可"
    r"|許可を|許諾を|承諾を|事前に|금지|불가|하지 ?마|마세요|마십시오|허락|동의|승인)"
)
_UNSPACED = re.compile(
    rf"不要{_ACT_UNSPACED}|不要(?:将|把|用|拿).{{0,16}}{_ACT_UNSPACED}|{_REFUSAL_UNSPACED}.{{0,20}}?{_ACT_UNSPACED}"
    rf"|{_ACT_UNSPACED}.{{0,20}}?{_REFUSAL_UNSPACED}"
)


def refusal_in(sentence: str) -> str:
    """Return the words of a folded sentence in which an act of merging stands in the scope of a refusal; "" for none.

    Example: >>> bool(refusal_in("i d rather nobody merged this model")), refusal_in("this model was merged with ties")
             (True, '')
    """
    if (kept := _UNMERGED.search(sentence)) is not None:
        return kept[0]
    read = _PASSED.sub(" , ", sentence)
    credit = _CREDIT.search(read)
    acts = list(_ACT.finditer(read))
    if _ABOUT_MODELS.search(read) and not _ABOUT_THINGS.search(read):
        acts += _MIX.finditer(read)
    for act in acts:
        before = _last(read, act.end(), _BEFORE + act[0].count(" ") + 1)
        after = _first(read, act.end(), _AFTER + 1)
        asks = () if credit else _ASKS.finditer(before)
        for one in (*asks, *_REFUSES.finditer(before)):
            apart = before[one.end() :].count(" ")
            if one[0] not in _WEAK or apart <= _NEAR:
                return f"{one[0]} {act[0]}"
        if (late := _REFUSED.search(after)) is not None:
            return f"{act[0]} {late[0]}"
    return _elsewhere(read)


def _last(words: str, end: int, count: int) -> str:
    return " ".join(words[max(0, end - _REACH) : end].split(" ")[-count:])


def _first(words: str, begin: int, count: int) -> str:
    return " ".join(words[begin : begin + _REACH].split(" ")[:count])


def _elsewhere(sentence: str) -> str:
    if (found := _UNSPACED.search(sentence)) is not None:
        return found[0]
    read = _NEEDLESS.sub(" , ", sentence)
    for act in _ACT_ELSEWHERE.finditer(read):
        before, after = _last(read, act.start(), _BEFORE), _first(read, act.end(), _AFTER + 1)
        found = _REFUSAL_ELSEWHERE.search(before) or _REFUSAL_ELSEWHERE.search(after)
        near = _last(before, len(before), _NEAR)
        if found is None and act[0] not in _ENGLISH:
            found = _BARE_REFUSAL_ELSEWHERE.search(near)
        if found is not None:
            return f"{found[0]} {act[0]}"
    return ""
