"""The wordings by which owners ask not to be merged, or forbid derivatives, as patterns over folded text.

    a wish = a refusal (not, never, forbidden, off limits, only with our consent) that governs a merge of this model

Short texts, whole sentences and prose have patterns of their own; `signs.py` says which text is asked by which.  A
word for merging has other objects too, tokens, rows, adapters that go into their base, and is then no wish; and a
refusal that is itself denied ("not forbidden") is none.  Source: the licences of Creative Commons with their names in
other languages, cards on the Hub, and sentences of readers who were told no word of ours.  Differs from a parser of
language: it knows kinds of sentences, and errs towards a sign.
"""

import re
from typing import Final

_NOT = r"(?:do ?not|dont|donot|never|please no|no|anti|not for|not to be)"
#: What is itself denied refuses nothing.
_DENIED = r"(?<!not )(?<!isnt )(?<!arent )(?<!never )(?<!nothing )(?<!do not )(?<!nor )"
BARRED = (
    r"(?:(?:not|isnt|arent) (?:an? )?"
    r"(?:allowed|permitted|licensed|authori[sz]ed|granted|wanted|welcome|ok(?:ay)?|option)"
    rf"|{_DENIED}(?:unwelcome|forbid(?:den)?|prohibit(?:ed)?|disallow(?:ed)?|den(?:ied|y)|disabled|excluded|banned|reserved"
    r"|off limits|ruled out|a no go)\b(?! (?:by default|false|no|off|0)\b))"
)
_MUST = r"(?:(?:may|must|shall|should|are|is|will) not|(?:must|should|are|is|wo)nt|never)"
_CANNOT = r"(?:cannot|can not|cant)"
_MAY_NOT = (
    r"(?:(?:may|must|shall|should) not"
    rf"|(?:not (?:allowed|permitted|licensed|authori[sz]ed)|{_DENIED}forbidden|{_DENIED}prohibited) (?:to|from))"
)
#: What is merged and is no model of ours.
_THINGS = (
    r"(?:datasets?|data|rows?|files?|adapters?|loras?|branch(?:es)?|prs?|requests?|splits?|columns|tables"
    r"|tokens?|heads?)"
)
_OURS = rf"(?:(?:this|these|it|our|my)(?! (?:\w+ )?{_THINGS}\b)|any part of|the (?:\w+ ){{0,2}}(?:model|weights|check))"
_MAKE = r"(?:creat|mak|prepar|produc|distribut|shar|publish)\w*"
_LEAVE = (
    r"(?:permission|consent|approval|authori[sz]ation|agreement"
    r"|(?:commercial|separate|paid|special|written) licen[sc]e)"
)
_AFTER_LEAVE = r"(?! (?:is |are )?(?:not )?(?:needed|required|necessary))"
_NO_THINGS = r"(?<!datasets )(?<!splits )(?<!rows )(?<!files )(?<!tables )(?<!columns )(?<!tokens )(?<!branches )"
#: Before a merge of something else than models.
_NOT_TOKENS = r"(?<!token )(?<!tokens )(?<!patch )(?<!head )(?<!branch )(?<!bpe )(?<!adapter )(?<!lora )"
_FUSION = r"(?:fusi[oó]n|fusione|fus[aã]o|mezcla|mescla)"
_ASK = r"(?:i|we|owner|author) (?:\w+ )?(?:ask|request|prefer|require|demand|insist)s?"
_MIX = r"(?:combine|mix|fuse|blend|average|interpolate)"
_MERGEN = r"(?:mergen|merge|fusionieren|verschmelzen|zusammenzuf[üu]hren|zusammenf[üu]hren)"
#: Both signs in other languages, folded; scripts without blanks between words stand as they are.
_NO_DERIVATIVES_ELSEWHERE = (
    r"\bkeine (?:bearbeitung|abgeleitet|derivat)\w*|\bpas de (?:modification|(?:travaux |œuvres? )?dérivé)\w*"
    r"|\bsin ?(?:obras? ?)?derivad\w*|\bsense ?(?:obres? ?)?derivad\w*|\bnon opere derivate|\bsem ?deriva\w*"
    r"|\bgeen ?afgeleide\w*|\bbez utworów zależnych|\bбез производных|\bбез похідних|\bingen bearbe\w*|\binga bearbe\w*"
    r"|\bei muutoksia|\bnezpracov\w*|\btüretilemez|\btanpa ?turunan|\bόχι παράγωγα|改変を?禁止|변경 ?금지|منع الاشتقاق"
    r"|(?:禁止|不得|不可)(?:演[绎繹]|改作|修改|衍生)"
)
_WISH_ELSEWHERE = (
    r"\bnicht (?:zum? |ge)?(?:merge|mergt|fusionier|verschmelz|verschmolz|zusammenf[üu]hr)\w*"
    r"|(?<!ist )\bkeine? (?:merges?|merging|fusion(?:en)?|zusammenf[üu]hrung)\b(?! sondern)"
    rf"|\b(?:nicht (?:gestattet|erlaubt|zulässig)|untersagt|verboten) (?:\w+ ){{0,5}}?{_MERGEN}\b"
    r"|\b(?:merg|fusionier|verschmelz|zusammenf[üu]hr)\w* (?:\w+ ){0,5}?"
    r"(?:untersagt|verboten|nicht (?:gestattet|erlaubt))"
    r"|\binterdit (?:\w+ ){0,2}?fusionner\b|\bvietat\w (?:\w+ )?(?:fondere|unire|fusionare|mescolare)\b"
    r"|\bnão (?:é|são) permitid\w (?:\w+ )?(?:fundir|mesclar)|\bproibid\w (?:\w+ )?(?:fundir|mesclar)"
    r"|\bобъединени\w+ (?:\w+ ){0,4}запрещ"
    r"|\bne (?:doi(?:t|vent) |peu(?:t|vent) )?pas (?:être )?(?:fusionn|merg)\w*|\b(?:fusion interdite|pas de fusion)\b"
    r"|\b(?:no|prohibido) (?:se (?:puede|permite) )?(?:fusionar|fusione|mezclar|mezcle)\w*"
    r"|\bnon (?:fondere|unire|fusionare|mescolare)\b|\bnão (?:fund|mescl|merge)\w*"
    r"|\bне (?:слива|объедин|мердж)\w*|\bзапрещ\w+ слияни\w*|\bслияни\w+ запрещ\w+"
    r"|(?:禁止|不得|请勿|請勿|不要|勿|不允许|严禁|拒绝|不可)\w{0,16}(?:合并|合併|融合)|(?:合并|合併|融合)\w{0,3}(?:禁止|不可)"
    r"|(?:マージ|統合)\w{0,12}(?:禁止|厳禁|不可|禁じ|しない|お断り|遠慮)"
    r"|(?:병합|머지)\w{0,2} ?(?:사용)? ?(?:금지|하지|불가)"
    rf"|(?<!layer )(?<!kernel )(?<!operator )\b{_FUSION} (?:\w+ ){{0,5}}?(?:interdit|prohib|proib|vietat"
    r"|n(?:on|o|ão|ao|est pas) (?:est |está |esta |è |é )?(?:autori[sz]|permi|permes|consentit))"
    rf"|\b(?:prohib\w+|prohíb\w+|proibid\w|vietat\w) (?:\w+ )?(?:fusionar|{_FUSION}|fazer merg)"
    r"|\bnão (?:faça|fazer|façam|use|usar) (?:\w+ ){0,3}?merg|\bnicht (?:\w+ ){0,3}?in (?:\w+ )?merges?\b"
    r"|\bnicht dass (?:\w+ ){0,5}?(?:gemerg|merg|fusionier|verschm)\w*|\bмерж\w+ запрещ|\bзапрещ\w+ мерж"
    r"|\bслияни\w+ (?:\w+ ){0,4}запрещ"
)

NO_DERIVATIVES = re.compile(
    r"\bno ?deriv\w*+(?! of)"
    r"|\bnon deriv\w*|\bpolyform strict\b"
    r"|\b(?:cc ?)?by ?(?:nc ?)?nd(?:\b|\d)"
    r"|\bcc (?:nc )?nd\b"
    rf"|\bderiv(?:ative|ation)s?(?: works?)? (?:(?!these)\w+ ){{0,3}}?{BARRED}"
    rf"|\b(?:{_MUST}|do not|cannot|can not) (?:\w+ ){{0,8}}?{_MAKE} (?:\w+ ){{0,4}}?deriv(?:ative|ation)"
    rf"|\b(?:modif(?:y|ied|ication|ications)|adaptations?) (?:\w+ ){{0,3}}?{BARRED}"
    r"|\bno (?:modifications?|adaptations?)(?: (?:allowed|permitted)\b|$)|\b(?:verbatim cop\w+|unmodified \w+) only\b"
    rf"|{_NO_DERIVATIVES_ELSEWHERE}"
)
SHORT_WISH = re.compile(
    rf"(?:please )?{_NOT} ?(?:(?:model|weights?|further) ?)?"
    r"(?:(?:re|franken)?merg(?:e|es|ing|ers?|ekit)|fuse|fusing|blend|blending)\b.*"
    rf"|(?:{_MUST}|{_CANNOT}|do not|not to) be ?merged\b.*|(?:keep|stay|remain) unmerged|(?:model )?merging off"
    rf"|merg(?:e|es|ing|ers?) (?:\w+ ){{0,3}}?{BARRED}.*"
    r"|merg(?:e|es|ing) (?:ban|opt ?out|restricted)|opt(?:s|ed)? ?out (?:of|from) (?:\w+ )?merg\w*"
    r"|no (?:slerp|ties|dare|(?:model )?soups?|souping)|(?:pas de|sin|sem|без) (?:merge|fusion|fusión|fusão|слияния)"
    r"|не мерж\w*|(?:un|non|not) ?merge?able"
    rf"|(?:{_WISH_ELSEWHERE}).*"
)
#: A merge as something that somebody does: no merge that is a model, none of tokens, no merging that was done.
_ACT = (
    rf"(?:{_NOT_TOKENS}(?:merges|merging|mergers)|(?:to|may|can|you|or|and) merge|(?:in|for|into) (?:\w+ )?merges?)\b"
)
#: Words that refuse by themselves, and those of a consent that is asked for.
_REFUSE = (
    rf"{_DENIED}(?<!nobody )(?:refrain from|abstain from|objects? to|opposed? to|forbids?|bans?|prohibits?|excludes?"
    r"|not extend to|illegal|unlawful|disrespectful|unwelcome|breach|violation|withheld|zero|strictly no"
    r"|absolutely no)\b"
)
_NEED = r"(?:needs?|requires?|required|only|ask|get|obtain|must|shall|written|prior|first)"
_HERE = r"(?:(?![.!?;])\S+ )"
_SHAPES = (
    rf"|\b{_REFUSE} {_HERE}{{0,6}}?{_ACT}|\b{_ACT} {_HERE}{{0,8}}?{_REFUSE}"
    rf"|\b(?:avoid|stop) (?:\w+ )?merging {_OURS}"
    r"|\b(?:can|may) (?:i|we|it|this|one) (?:be )?merged?(?: \w+){0,3} \? (?:sorry )?no\b"
    rf"|\b(?:do ?not|dont|never) {_MAKE} (?:\w+ ){{0,3}}?merge|\b{_LEAVE} to merg(?:e|ing) (?:is )?(?:not|never)\b"
    rf"|\b(?<!do not )(?<!dont )(?<!does not )(?<!no need to )(?<!need not ){_NEED} {_HERE}{{0,6}}?{_LEAVE}"
    rf" {_HERE}{{0,4}}?{_ACT}"
    rf"|\b(?<!no ){_LEAVE} {_HERE}{{0,2}}?(?:required|needed|necessary) {_HERE}{{0,2}}?{_ACT}"
    rf"|\b{_ACT} {_HERE}{{0,4}}?(?<!do not )(?<!does not ){_NEED} {_HERE}{{0,5}}?{_LEAVE}"
    r"|\bto merge (?:\S+ ){1,3}(?:get in touch|reach out|write to)\b"
    r"|\b(?:unmerged only|only (?:be )?(?:used )?unmerged|(?:leave|keep) (?:\w+ ){1,3}unmerged)\b"
    r"|\bunder no circumstances (?:\w+ ){0,4}merged?\b|\bmerg(?:es|ing) (?:is|are) not(?= [.!?;]|$)"
)
#: Refusals with a verb of merging, in languages that put them so.
_VERB = (
    r"(?:fusion(?:n?er|ar|are)|merg(?:er|ear|iare|ar)|fondere|fundir|funda|mezclar|mesclar|mescolare|mistur(?:ar|e))"
)
_ROMANCE = (
    rf"|\b(?:no|non|não|nest|pas|ne) (?:(?!hace|falta|nécess|neces|besoin|bisogno|precis|serve)\w+ ){{0,4}}?{_VERB}\b"
    r"|\b(?:pas|no|non|não) (?:\w+ ){0,4}?(?:dans|en|em|in) (?:\w+ )?(?:fusion(?:s|es|i)?|fusões|merges)\b"
    r"|\b(?:нельзя|просьба не|запрещ\w+) (?:\w+ ){0,2}?(?:мерж|объедин|слива|сли[тя])\w*"
    r"|\bmerges? (?:\w+ ){0,4}?(?:unerwünscht|nicht erwünscht)|\bnicht (?:\w+ ){0,3}?für (?:\w+ )?merges?\b"
    r"|\binterdiction (?:\w+ ){0,2}(?:fusion|merg)|\brefuse (?:que|la|le|toute) (?:\w+ ){0,5}?(?:fusion|merg)"
    r"|\bvietat\w (?:\w+ ){0,2}merge\b|\bmerge (?:è )?vietat|\bне использовать (?:\w+ ){0,3}?слияни"
)
#: What is the whole of a sentence, of a line, or of what stands beside a colon.
BARE_WISH = re.compile(
    r"(?:(?:please|kindly) )?(?:do ?not|dont|never|no|not for|not to be) (?:\w+ )?(?:franken)?merg(?:e|es|ing|ed|ers)"
    r"(?: please| it| them| allowed| permitted)?|(?:model )?merg(?:e|es|ing) (?:allowed|permitted|ok) no"
    r"|(?:model )?merg(?:es|ing) (?:is|are) not|merg(?:e|es|ing) (?:is )?(?:an )?opt ?out|use (?:it )?alone"
)
BARE_NO = re.compile(r"(?:model )?merg(?:e|es|ing) no")
PROSE_WISH = re.compile(
    rf"\b(?:do ?not|dont|didnt|did not|never|please no|{_MUST}|{_CANNOT}|not to) "
    rf"(?:(?!forget|fail|hesitate|need|have|to\b)\w+ ){{0,5}}?(?:re)?merge {_OURS}"
    rf"|\b{_NO_THINGS}(?:{_MUST}|not to) be (?:\w+ )?merged\b(?! (?:yet|until|before|back|if|when|twice|silently))"
    rf"|\bthis (?:\w+ )?{_CANNOT} be merged\b|\bremain unmerged\b"
    r"|\b(?:may|must|shall|can|should) under no circumstances be merged\b"
    rf"|\b{_ASK} (?:\w+ ){{0,5}}?not (?:be )?merged?\b"
    rf"|\b{_MAY_NOT} (?:\w+ ){{0,2}}?(?:merg(?:e|ing)\b|{_MAKE} (?:\w+ ){{0,3}}?merge)"
    r"|\bno (?:\w+ ){0,5}?may be merged\b"
    rf"|\b{_NOT_TOKENS}(?:merg(?:es|ing|ers)|(?<!this )(?<!the )(?<!our )merge) (?:\w+ ){{0,6}}?(?:is |are )?{BARRED}"
    rf"|\b(?:franken)?merg(?:es|ing|ers) (?:\w+ ){{0,6}}?{BARRED}|\bmerge free licen[sc]e\b"
    r"|\b(?:no|not for) merg(?:es|ing|ers)\b(?! (?:files?|txt|rules?|conflicts?|weights?|is|was|were"
    r"|(?:for|of|in|with) (?!this|these|it|my|our|any|other)))"
    rf"|\b(?:{BARRED}|hands off) (?:for|to) (?:\w+ )?merg(?:e|es|ing|ers)\b"
    r"|\b(?:uses?|use|anything|everything|rights?|licen[sc]e(?: \w+)?|allowed|permitted) (?:\w+ ){0,3}?"
    r"except(?:ing)? (?:for )?merg|\bbut (?:not )?merge (?:it|this|them)\b"
    rf"|\b(?:dont|do not|without) have (?:\w+ )?(?:right|licen[sc]e|{_LEAVE}) to merge\b"
    rf"|\bto merge {_OURS} (?:\w+ ){{0,3}}(?:ask|contact|email|write)\b"
    r"|\b(?<!need not )(?<!no need to )(?:contact|ask|email|write) (?:\w+ ){0,3}?before (?:you )?merg"
    r"|\bagrees? (?:\w+ )?not to (?:\w+ ){0,3}?merge\b|\bopts? out of (?:\w+ ){0,2}?merg"
    r"|\b(?:do ?not|dont|never) (?:use (?:\w+ ){0,3}?(?:with|in|by) )?mergekit\b"
    rf"|\b(?:weight|model|parameter)s? (?:averag|soup|interpolat|blend|fus|stitch)\w* (?:\w+ ){{0,4}}?{BARRED}"
    r"|\bno (?:slerp|ties|dare|souping|soups) (?:\w+ ){0,4}?with (?:this|these|my|our)\b"
    rf"|\buse (?:as|in|for) (?:\w+ ){{0,5}}?merg\w* (?:\w+ ){{0,3}}?{BARRED}"
    rf"|\b(?:{_MUST}|{_CANNOT}|do ?not|dont|not to) (?:be |want to )?"
    r"(?:used?|using|includ\w*|put|add|see) (?:\w+ ){0,6}?"
    r"(?:(?:in|for|into) (?:\w+ )?|as (?:an? )?)merg(?:e|es|ing|ers)\b"
    r"|\b(?:not|isnt|arent) (?:available|licensed|intended|meant|for use) (?:for (?:\w+ )?in|in|for) (?:\w+ )?merg"
    rf"|\bno (?:right|licen[sc]e|{_LEAVE}){_AFTER_LEAVE} (?:\w+ ){{0,3}}?to (?:\w+ )?merge\b"
    r"|\bmerging (?:\w+ ){0,6}?(?:violates|breaches|infringes|voids|terminates|is against)\b"
    r"|\b(?<!if you )(?:does not|do not|dont|doesnt) "
    r"(?:allow|permit|authori[sz]e|licen[sc]e|consent|agree|want|wish|like(?! being)) (?:\w+ ){0,6}?merg"
    r"|\brefrain from (?:\w+ )?merging\b|\bout of (?:\w+ ){0,2}merg(?:es|ers|ekit)\b"
    rf"|\bmerg(?:e|ed|es|ing) (?:\w+ ){{0,6}}?(?:only|requires|needs|without) (?:\w+ ){{0,5}}?{_LEAVE}"
    rf"|\b(?:do not|dont|never|{_MAY_NOT}) {_MIX} {_OURS}(?! (?:\w+ ){{0,4}}?(?:data|text|prompt|image|output|answer))"
    rf"|{_WISH_ELSEWHERE}{_SHAPES}{_ROMANCE}"
)
#: What every wish in prose holds one of; a long text without any need not be searched.
STEMS: Final = (
    *("merg", "combine", "mix", "fus", "blend", "averag", "interpolat", "soup", "slerp", " ties ", " dare ", "stitch"),
    *("verschm", "zusammenf", "fond", "unir", "mesc", "fund", "mezcl", "слива", "слияни", "объедин", "мерж", "мердж"),
    *(
        "task vector",
        "task arithmetic",
        "passthrough",
        "bake",
        "baking",
        "splice",
        "mistur",
        "voeg",
        "łącz",
        "scal",
        "birleştir",
    ),
    *("合并", "合併", "融合", "マージ", "統合", "병합", "머지"),
)
PROSE_LICENCE = re.compile(
    r"\blicen[sc]ed?(?: \w+){0,6}? (?:cc )?by (?:nc )?nd\b"
    r"|(?<!requires )(?<!needs )(?<!uses )(?<!with )\bno derivatives?(?: works?| models?)?\b(?! (?:of|was|were|is|are))"
    rf"|\bderivatives?(?: works?| models?)? (?:(?!these)\w+ ){{0,3}}?{BARRED}"
    rf"|\b(?:{_MAY_NOT}|do not|cannot|can not) (?:\w+ ){{0,3}}?{_MAKE} (?:\w+ ){{0,4}}?derivative"
    rf"|{_NO_DERIVATIVES_ELSEWHERE}"
)
