"""Kinds of words that wishes not to be merged are made of: what makes one model of several, refuses, grants, asks.

    kind(word) = the kind of the whole word, or of its longest beginning that has one

They are no rules: a kind by itself says nothing, and `recogniser.py` learns which orders of kinds are wishes.  A
wish in words that nobody has seen is heard where their kinds are known.  Source: our own reading of cards, in some
thirty languages.  Differs from a stemmer: a kind joins words that mean alike, of any language.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

#: Kind -> beginnings of words; a dollar ends a whole word.
_WORDS: Final[Mapping[str, str]] = {
    # Ours, which begins like a word for merging.
    "tool": "mergebarrier$ mergeguard$ mergelock$",
    # What makes one model of several.
    "merge": (
        "merg remerg frankenmerg frankenm mergekit$ supermerger marge$ mrege$ blend mix$ mixes$ mixing$ "
        "mixed$ mixin fuse fusing$ fusion combin average$ averaged$ averaging$ averages$ interpolat soup "
        "souping slerp$ ties$ dare$ stitch splic graft bake$ baked$ baking$ amalgam mash smoosh recombin "
        "remix hybrid chimera passthrough$ franken crossbreed unmerg soupy$ mixture merger mrege "
        "mergeing mergen$ gemergt$ mergt$ modellmisch mixer$ gecombineer merger$ mescla barregeu$ unione$ "
        "unire$ mélange verschm zusammenf misch vermisch kombin mischung fusionier fusionn mélang mezcl "
        "fusión mescl mescol mistur fundir funda$ fusão$ fusao$ fusões$ fondere$ fonde uni$ combina combinar "
        "mediare$ promedi samenvoeg samengevoeg vermeng мешать$ мешайте$ слия слив слит смеш подмеш объедин "
        "мерж мердж сборк обєдн злит змішу scalać$ scalan scalon łącz połącz miesza slouč slučov slučuj kombinov "
        "neslučujte$ egyesít összevon spaja spoj сливай harman birleştir karıştır merge etme sammanslag "
        "blanda slå$ ihop$ fletn yhdist συγχων συγχών barrej contop trộn gộp gabung menggabung campur "
        "digabung pagsama دمج بدمج ادغام मर्ज मिला मिश्र למזג המיזוג מיזוג รวม ผสม donor ingredient recipe "
        "stock$ unblend neslučuj "
    ),
    # What does so when it is said of models.
    "join": (
        "arithmetic$ ensembl composit vector deltas$ delta$ dissolv melt$ melted$ stir$ pour$ cut$ splice "
        "add$ added$ adding$ sum summed$ stack$ stacked$ stacking$ incorporat integrat transplant consolidat "
        "fold$ folded$ folding$ pool$ pooled$ pooling$ parent parents$ junt separat apart$ together$ into$ "
        "inside$ beside$ part$ "
    ),
    # No.
    "no": (
        "not no$ nope$ nah$ nay$ never$ none$ neither$ nor$ nobody$ noone$ nothing$ without$ dont$ donot$ "
        "doesnt$ didnt$ isnt$ arent$ aint$ wasnt$ wont$ cant$ cannot$ shouldnt$ mustnt$ neednt$ wouldnt$ "
        "couldnt$ shant$ havent$ hasnt$ nicht$ kein nie$ niemals$ pas$ ne$ ni$ aucun nunca$ non$ não$ nao$ "
        "nem$ niente$ nada$ niet$ geen$ не$ нет$ ні$ ej$ inte$ ikke$ ei$ älä$ μην$ δεν$ değil$ yok$ jangan$ "
        "đừng$ không$ chớ$ bukan$ tidak$ لا$ عدم$ न$ नहीं$ मत$ לא$ อย่า ไม่ huwag$ nu$ negative$ "
        "quit$ stop$ n$ x$ ng$ "
    ),
    # What refuses.
    "ban": (
        "forb prohibit$ prohibits$ prohibited prohibiting$ prohibition disallow bann ban$ bans$ denied$ deny$ "
        "denies$ refus declin object$ objects$ objection unwelcome$ exclu except refrain abstain avoid withh "
        "withdraw withdrew revok restrict reserv opt$ opted$ opts$ protest untersag verbot verboten$ "
        "unzulässig interdit vetad vietat prohíb proib prohibid verboden$ запре заборон zakaz zabran zabron "
        "tilos$ yasak förbju forbudt kielletty απαγορ cấm dilarang larang يمنع ممنوع मना אסור ห้าม zabroni "
        "interzis contrai exclus against$ "
    ),
    # What follows where somebody does it all the same.
    "penalty": (
        "report reported$ takedown block blocked$ theft$ stealing$ steal$ terminat void$ voids$ infring "
        "violat breach illegal unauthor "
    ),
    # What asks that a thing stays as it is.
    "keep": ("keep$ kept$ leave$ left$ out$ alone$ solo$ away$ hands$ off$ limits$ spare$ "),
    # What somebody would rather not see.
    "mind": ("rather$ prefer$ sad$ upset disappoint rude$ disrespect "),
    # Consent.
    "consent": (
        "permission permisson permision consent approv agreed$ agrees$ authoris authoriz clear$ clearance$ "
        "sign$ invitation$ individually$ apply$ case$ get$ written$ blessing$ zustimm genehm rücksprache "
        "fragen$ frag autoris accord$ autoriza permis consens permess toestemm overleg согласи разреш дозв "
        "zgod pozwol povol engedély izin tillstånd tilladelse lupa άδεια phép إذن अनुमति "
    ),
    # What is done to get it.
    "ask": (
        "ask$ asks$ asking$ asked$ contact message$ dm$ email$ mail$ write$ request first$ prior$ beforehand$ "
        "touch$ drop$ hit$ "
    ),
    # What grants.
    "grant": (
        "allow allowed$ permit permitt welcom free freely$ fine$ ok$ okay$ cool$ problem$ encourag happy$ "
        "glad$ enjoy yes$ sure$ invite invited$ love$ legal$ granted$ grant erlaub darf dürf gestattet puede$ "
        "pode$ può$ libre libero livre можно$ разрешаю$ może$ można$ saa$ boleh$ có$ serbest licensed$ mind$ "
    ),
    # May be a grant or its opposite.
    "can": ("may$ can$ possible$ able$ "),
    # Duties and conditions.
    "must": (
        "must$ shall$ should$ need$ needs$ have$ has$ require required$ requires$ only$ subject$ condition "
        "obtain obliged$ müss muss$ doit$ faut$ debe deve moet$ нужно$ надо$ следует$ trzeba$ "
    ),
    # What a request begins with.
    "wish": (
        "want$ wish$ wishes$ like$ please$ pls$ plz$ kindly$ appreciate grateful$ hope$ respect$ honour$ "
        "favour$ bitte$ merci$ prière$ veuillez$ favor$ ruego$ gostaria$ prego$ gelieve$ пожалуйста$ прошу$ "
        "будь$ proszę$ prosím$ lütfen$ kérem$ snäll$ vänligen$ παρακαλώ$ xin$ vui$ tolong$ mohon$ يرجى$ نرجو$ "
        "कृपया$ لطفا$ กรุณา "
    ),
    # What is often denied: no need, do not hesitate.
    "need": (
        "needed$ necessary$ hesitate$ worry$ forget$ matter$ nötig$ nécessaire$ besoin$ hace$ falta$ precisa$ "
        "serve$ bisogno$ potrz "
    ),
    # Terms.
    "terms": ("licence licens terms$ grant$ agreement section clause policy scope$ right$ rights$ lizenz "),
    # Models.
    "model": (
        "model models$ weight weights$ checkpoint checkpoints$ ckpt lora loras$ parameters$ params$ network "
        "gewichte$ modell poids$ modèle pesos$ modelo pesi$ modello gewichten$ модел веса$ весам вагами$ "
        "ваги$ wag$ wagi$ modelu$ modelem$ súly ağırlık vikter$ mallia$ μοντέλο mô$ bobot$ النموذج مدل "
    ),
    # Words that point at what is at hand.
    "this": (
        "this$ these$ it$ its$ mine$ my$ our$ one$ dieses$ diese$ ce$ ces$ este$ estos$ estes$ questo$ "
        "questi$ deze$ dit$ эту$ эти$ этой$ ten$ tego$ tento$ bu$ den$ här$ ini$ này$ هذا$ هذه$ इस$ "
    ),
    # Others.
    "other": (
        "other others$ another$ any$ anything$ else$ elses$ someone$ somebody$ third$ foreign$ competitor "
        "anderen$ andere fremd autres$ otros$ outros$ altri$ andere$ другим чужим innymi$ jinými$ başka "
        "andra$ muihin$ khác$ lain$ غير "
    ),
    # Other objects of a merge, and of cards.
    "thing": (
        "dataset datasets$ data$ rows$ row$ column branch pull$ pr$ prs$ requests$ token tokens$ tokenizer "
        "bpe$ vocab file files$ shard cells$ cell$ frame frames$ commit main$ maintain adapter adapters$ "
        "conflict records$ record entit span spans$ box boxes$ kernel kernels$ operator patch head heads$ "
        "embedding logit score scores$ prompt prompts$ output outputs$ template config script layer layers$ "
        "peft$ qlora$ fp16$ fp32$ bf16$ 4bit quant gguf$ audio track tracks$ pixel pixels$ image images$ "
        "text$ languages$ option options$ lists$ key keys$ vae$ sampler loss losses$ seeds$ seed$ gradient "
        "dates$ table tables$ zellen$ daten$ données$ datos$ dados$ dati$ branches$ ramas$ adaptateur$ "
        "adaptador adattatore "
    ),
    # Owners.
    "owner": (
        "i$ im$ ive$ id$ ill$ we$ weve$ us$ me$ author owner creator licensor team$ ich$ wir$ je$ nous$ yo$ "
        "eu$ io$ ik$ я$ мы$ ja$ "
    ),
    # Readers.
    "reader": (
        "you$ u$ ur$ your$ youre$ yours$ users$ user$ anyone$ anybody$ people$ person$ licensee recipient "
        "customers$ customer everyone$ everybody$ who$ whoever$ they$ "
    ),
    # What was done.
    "past": (
        "was$ were$ been$ did$ had$ made$ done$ using$ used$ created$ trained$ got$ tried$ wurde$ wurden$ "
        "été$ obtenu$ fue$ foi$ stato$ werd$ была$ были$ получен "
    ),
    # What else owners forbid.
    "share": (
        "nsfw$ sfw$ commercial commercially$ sell$ sold$ resell$ reupload repost redistribut publish "
        "publicly$ upload share shared$ "
    ),
}
#: The same in scripts that put no blanks between words.
UNSPACED_KINDS: Final[Mapping[str, re.Pattern[str]]] = {
    "merge": re.compile("合并|合併|融合|混合|混进|混ぜ|マージ|統合|合成|焼き込|병합|머지|섞|합치|烘焙|平均|插值"),
    "no": re.compile("不|勿|无|未|ない|なし|ません|不可|않|안 |마세요|마십시오|말아|불"),
    "ban": re.compile("禁|谢绝|拒|断り|控え|遠慮|やめ|NG|금지|금합|사양|불허|지 마"),
    "consent": re.compile("许可|授权|同意|許可|許諾|承諾|連絡|联系|허가|허락|동의|연락"),
    "grant": re.compile("可以|欢迎|自由|大丈夫|OK|ください|가능|허용|자유|하세요"),
    "past": re.compile("した|です|由|是用|成$|而成|되|하여|만들|했"),
    "thing": re.compile("数据|データ|トークン|分词|适配器|アダプタ|어댑터|データセット|데이터|分支|브랜치"),
}
UNSPACED: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]")
_WHOLE: Final = {word[:-1]: kind for kind, text in _WORDS.items() for word in text.split() if word[-1] == "$"}
_BEGINNINGS: Final = {word: kind for kind, text in _WORDS.items() for word in text.split() if word[-1] != "$"}
_LONGEST: Final = max(map(len, _BEGINNINGS))
#: Shorter beginnings of Latin words are those of too many.
_SHORTEST: Final = 4


@lru_cache(1 << 14)
def kind(word: str) -> str:
    """Return the kind of a folded word, "" for one of none.

    Example: >>> kind("merging"), kind("mezclar"), kind("prohibited"), kind("banana")
             ('merge', 'merge', 'ban', '')
    """
    if word in _WHOLE:
        return _WHOLE[word]
    for length in range(min(len(word), _LONGEST), 1, -1):
        found = _BEGINNINGS.get(word[:length])
        if found and (length >= _SHORTEST or length == len(word) or not word.isascii()):
            return found
    return ""
