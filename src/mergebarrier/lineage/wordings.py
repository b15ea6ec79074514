"""The wordings by which owners ask not to be merged, or forbid derivatives, as patterns over folded text.

    a wish = a refusal (not, never, forbidden, off limits) of a merge, which is the whole of a tag, a line or a sentence

Tags, whole sentences and licences have patterns of their own; `signs.py` says which text is asked by which, and
`recogniser.py` weighs prose, whose wordings are without number.  Source: the licences of Creative Commons with their
names in other languages, and cards on the Hub.  Differs from a parser of language: it knows kinds of sentences, and
errs towards a sign.
"""

import re

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
_MAKE = r"(?:creat|mak|prepar|produc|distribut|shar|publish)\w*"
_FUSION = r"(?:fusi[oó]n|fusione|fus[aã]o|mezcla|mescla)"
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

#: Who shares what was changed, and in which form alone the weights may be shared.
_UNCHANGED = (
    r"\b(?:adaptations?|(?:modified|altered|changed) (?:versions?|copies|weights|models?|checkpoints?)) (?:\w+ ){0,4}?"
    r"(?:may|must|shall|can|should) ?not be (?:(?:re)?distributed|shared|published|released|uploaded|passed on)"
    r"|\b(?:(?:re)?distribut|shar|publish|releas|re ?upload)\w+ (?:of )?(?:\w+ ){0,3}?"
    rf"(?:modified|altered|changed) (?:\w+ ){{0,3}}?{BARRED}"
    rf"|\b(?:{_MAY_NOT}|do not) (?:\w+ )?{_MAKE} (?:\w+ ){{0,2}}?(?:modified|altered|changed) "
    r"(?:versions?|copies|weights)\b"
    rf"|\b(?:distribut|shar|publish)\w+ (?:\w+ ){{0,3}}?derived (?:\w+ ){{0,5}}?{BARRED}"
    r"|\bonly (?:be \w+ )?in (?:(?:its|their|an|the) )?(?:unmodified|unaltered|unchanged|original) (?:form|state)"
    r"|\bin (?:(?:its|their|an|the) )?(?:unmodified|unaltered|unchanged) (?:form|state) only\b"
    rf"|\b(?:changing|altering|modifying) (?:them|(?:the|these) (?:weights|model|parameters)) (?:\w+ ){{0,2}}?{BARRED}"
)
#: What a card speaks of beside its model, and words for the model.
OF_PARTS = re.compile(
    r"\b(?:data|data ?sets?|corpus|corpora|images?|pictures?|photos?|photographs?|logos?|icons?|fonts?|artworks?"
    r"|figures?|videos?|recordings?|docs?|documentation|website|papers?|benchmarks?|assets)\b"
)
OF_THE_MODEL = re.compile(r"\b(?:models?|weights?|checkpoints?|loras?|adapters?|parameters|this work|derived)\b")

NO_DERIVATIVES = re.compile(
    r"\bno ?deriv\w*+(?! of)"
    r"|\bnon deriv\w*|\bpolyform strict\b"
    r"|\b(?:cc ?)?by ?(?:nc ?)?nd(?:\b|\d)"
    r"|\bcc (?:nc )?nd\b"
    rf"|\bderiv(?:ative|ation)s?(?: works?)? (?:(?!these)\w+ ){{0,3}}?{BARRED}"
    rf"|\b(?:{_MUST}|do not|cannot|can not) (?:\w+ ){{0,8}}?{_MAKE} (?:\w+ ){{0,4}}?deriv(?:ative|ation)"
    rf"|\b(?:modif(?:y|ied|ication|ications)|adaptations?) (?:\w+ ){{0,3}}?{BARRED}"
    r"|\bno (?:modifications?|adaptations?)(?: (?:allowed|permitted)\b|$)|\b(?:verbatim cop\w+|unmodified \w+) only\b"
    rf"|{_UNCHANGED}|{_NO_DERIVATIVES_ELSEWHERE}"
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
#: What is the whole of a sentence, of a line, or of what stands beside a colon.
BARE_WISH = re.compile(
    r"(?:(?:please|kindly) )?(?:do ?not|dont|never|no|not for|not to be) (?:\w+ )?(?:franken)?merg(?:e|es|ing|ed|ers)"
    r"(?: please| it| them| allowed| permitted)?|(?:model )?merg(?:e|es|ing) (?:allowed|permitted|ok) no"
    r"|(?:model )?merg(?:es|ing) (?:is|are) not|merg(?:e|es|ing) (?:is )?(?:an )?opt ?out|use (?:it )?alone"
)
BARE_NO = re.compile(r"(?:model )?merg(?:e|es|ing) no")
PROSE_LICENCE = re.compile(
    r"\blicen[sc]ed?(?: \w+){0,6}? (?:cc )?by (?:nc )?nd\b|\bcreativecommons org licenses by (?:nc )?nd\b"
    r"|(?<!requires )(?<!needs )(?<!uses )(?<!with )\bno derivatives?(?: works?| models?)?\b(?! (?:of|was|were|is|are))"
    rf"|\bderivatives?(?: works?| models?)? (?:(?!these)\w+ ){{0,3}}?{BARRED}"
    rf"|\b(?:{_MAY_NOT}|do not|cannot|can not) (?:\w+ ){{0,3}}?{_MAKE} (?:\w+ ){{0,4}}?derivative"
    r"|\battribution (?:non ?commercial )?no ?deriv(?:ative)?s\b"
    rf"|{_UNCHANGED}|{_NO_DERIVATIVES_ELSEWHERE}"
)
#: One of these stands in all that ``PROSE_LICENCE`` finds; to ask for them first is much the quicker.
PROSE_LICENCE_STEMS = (
    "licen", "deriv", "modif", "alter", "chang", "original", "adaptation", "dérivé", "bearbe", "abgeleitet",
    "afgeleide", "utworów", "производных", "похідних", "muutoksia", "nezpracov", "türetilemez", "turunan",
    "παράγωγα", "改変", "변경", "الاشتقاق", "演", "改作", "修改", "衍生",
)  # fmt: skip
