"""Formats of keys and tokens, as data: how they begin, of which characters they are, how long they are at least."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from trisignal.semconv.late_pattern import late_pattern

BODIES = {
    "a": late_pattern(r"[A-Za-z0-9]+"),
    "b": late_pattern(r"[\w+/=\-]+", re.ASCII),
    "p": late_pattern(r"[\w\-=.]*[\w\-=]", re.ASCII),
    "u": late_pattern(r"[A-Z0-9]+"),
    "v": late_pattern(r"\w+", re.ASCII),
    "w": late_pattern(r"[\w\-]+", re.ASCII),
    "x": late_pattern(r"[A-Fa-f0-9]+"),
}
"""Kinds of characters after a prefix: alphanumeric, base64, parts with dots, upper case, word, word or hyphen, hex."""

_TABLE = """
w16 sk- tgp_v1_ GR1348941 GOCSPX- whsec_ pk-lf- tvly- sq0atp- sq0csp- pypi- rqsty- bb_live_ bb_test_
w8 xapp- xoxa- xoxb- xoxe- xoxo- xoxp- xoxr- xoxs- xoxe.xoxb- xoxe.xoxp- FLWSECK_TEST- FLWSECK- FLWPUBK_TEST-
w8 FLWPUBK-
w16 glcbt- gldt- glffct- glft- glimt- glagent- gloas- glptt- glsoat- glpst- feed_token_
w20 llx- xai- nvapi- dckr_pat_ dckr_oat_ pylf_v wandb_v1_ sbp_ sb_secret_ sess- CFPAT- rdme_ dnkey- tfp_ figd_
w20 xkeysib- xsmtpsib- tskey- pat-na1- pat-eu1- pat-na2- nfp_
w20 EAAA fo1_ AIza HRKU- hrku- AQVN t3k- lip_ sntryu_ sha256~ tk-us- v1.0- PMAK-
p16 glpat- glrt- SG. ya29. hvs. hvb. hvr. dp.pt. dp.st. dp.ct. dp.sa. dp.scim. dp.audit. pscale_tkn_
p16 pscale_oauth_ pscale_pw_
p40 sk.eyJ v1.Cm fio-u- duffel_live_ duffel_test_ dt0c01. dt0s01. dt0s02. sl. pk. t1. AQ. v2.local. v2.public.
v20 ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ lsv2_ ls__ pcsk_ npm_ glsa_ phc_ phx_ sgp_ v1_live_ atlasv1.
a20 zpka_ crsr_ hf_ api_org_ gsk_ pplx- csk- fw_ fpk_ r8_ jina_ vck_ vcp_ rpa_ cpk_ psk- flp_ ntn_ pnu_ lin_api_
a20 lin_oauth_ apify_api_ aio_
a40 napi_
a10 sk_live_ sk_test_ sk_prod_ rk_live_ rk_test_ rk_prod_ sm_aat_ sm_pat_ sm_sat_ esecret_ LTAI ALTAK-
a10 CLOJARS_ LSO
a50 AKCp cmVmd EZAK EZTK EAAM EAAC EAAG EAAB EAAD EAAI
u16 A3T AKIA ASIA ABIA ACCA AGE-SECRET-KEY-1
b10 bedrock-api-key- ABSK glc_ ATATT3 ATCTT3 ATBB fm1a_ fm1r_ fm2_ ops_ sntrys_ bce-v3/ ZXlK eyJrIjoi 1//0
x20 dapi dkea dose dop_v1_ doo_v1_ dor_v1_ shpat_ shpca_ shppa_ shpss_ shippo_live_ shippo_test_ pul- rubygems_ e2b_
x20 squ_ sqp_ sqa_
x20 key- pubkey- live_ test_ live_pub_ test_pub_ s-s4t2ud- s-s4t2af- p8e- live-
?a20 sk_ pk_ fc- up_ ico- secret_ key_ pat_ pb_ pst_ inf_ m0- rc_ api_ akey_ tok_ xi_ cfut_ cfat_ nk_ avian-
?w24 pa- NRAK- NRII- NRJS- NRAL- NRRA- BSA ak- as- inf- sk-let- nrak- wk- ws- YC
?a22 ak- as-
?a32 cio
?w30 access-sandbox- access-development- access-production- p8e-
?p60 pat. sat.
?u26 API-
?x32 SK AC
"""
"""Kind of characters, least number of them, and prefixes. After ``?`` both letters and digits are needed,
as such prefixes begin ordinary names as well."""


def _formats() -> Iterator[tuple[str, str, int, bool]]:
    for line in _TABLE.split("\n"):
        if line:
            head, *prefixes = line.split()
            sure = head.lstrip("?")
            for prefix in prefixes:
                yield prefix, sure[0], int(sure[1:]), sure != head


FORMATS = tuple(_formats())
"""Prefix, kind of characters, least number of them, and whether letters and digits are needed."""

_ALNUM = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_MIXED = (
    r"(?<![\w\-.])[A-Za-z0-9]{8}\.(?=[A-Za-z0-9]*[A-Z])(?=[A-Za-z0-9]*[a-z])(?=[A-Za-z0-9]*\d)"
    r"[A-Za-z0-9]{32}(?![\w\-.])"
)


class Shape(NamedTuple):
    """A format without a prefix of its own."""

    mark: str
    """What is in every one of them."""
    left: str
    """Characters before the mark."""
    most: int
    """Most of them."""
    before: str
    """What is right before the mark, of a fixed length."""
    after: str
    """What is right behind it."""
    whole: str
    """The whole key."""

    @property
    def hint(self) -> str:
        """Finds marks with the right surroundings; it begins with the mark, for which searches are fast."""
        mark = re.escape(self.mark)
        return mark + (f"(?<={self.before}{mark})" if self.before else "") + f"(?={self.after})"


SHAPES = (
    Shape("Q~", _ALNUM + "_.~", 4, r"\d", r"[\w.~\-]{31}", r"[\w.~]{3}\dQ~[\w.~\-]{31,}"),
    Shape(".atlasv1.", _ALNUM, 14, "[A-Za-z0-9]{14}", r"[\w=\-]{40}", r"[A-Za-z0-9]{14}\.atlasv1\.[\w=\-]{40,}"),
    Shape("_mmk", _ALNUM + "_", 36, "[A-Za-z0-9]{29}", "", "[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk"),
    Shape("JQQJ99", _ALNUM, 52, "[A-Za-z0-9]{40}", "[A-Za-z0-9]{20}", "[A-Za-z0-9]{40,52}JQQJ99[A-Za-z0-9]{20,}"),
    Shape(
        ".acc", _ALNUM + "_.", 48, r"\w{4}", r"[_\-][\w\-]{10}",
        r"(?:sc|ext|scauth|authress)_\w{5,30}\.\w{4,6}\.acc[_\-][\w\-]{10,32}\.[\w+/=\-]{30,}",
    ),
    Shape(":A", "0123456789", 16, r"\d{5}", r"[\w\-]{33}", r"\d{5,16}:A[\w\-]{33,}"),
    Shape("|", "0123456789", 18, r"\d{14}", r"[\w\-]{20}", r"\d{14,18}\|[\w\-]{20,}"),
    Shape("%", "0123456789", 16, r"\d{15}", r"[\w\-]{27}", r"\d{15,16}%[\w\-]{27,}"),
    Shape("A3-", "", 0, "", r"[A-Z0-9]{6}-", r"A3-[A-Z0-9]{6}(?:-[A-Z0-9]{5,11}){4,5}"),
    Shape("4b1d", "", 0, "", r"[A-Za-z0-9]{38}", r"(?<![\w])4b1d[A-Za-z0-9]{38}(?![\w])"),
    Shape("s.", "", 0, "", r"[A-Za-z0-9]{24}", r"(?<![\w])s\.(?=[A-Za-z]*\d)[A-Za-z0-9]{24}(?![\w])"),
    Shape("pat", "", 0, "", r"[A-Za-z0-9]{14}\.", r"(?<![\w])pat[A-Za-z0-9]{14}\.[a-f0-9]{64}"),
    Shape("re_", "", 0, "", r"[A-Za-z0-9]{8}_", r"(?<![\w\-])re_[A-Za-z0-9]{8}_[A-Za-z0-9]{24}(?![\w\-])"),
    Shape("-us", "abcdef0123456789", 32, "[a-f0-9]{32}", r"\d{1,2}", r"(?<![\w\-])[a-f0-9]{32}-us\d{1,2}(?![\w\-])"),
    Shape("1/", "", 0, "", r"\d{10}", r"(?<![\w.])1/\d{10,20}:[a-f0-9]{32}"),
    Shape(".", _ALNUM, 8, "[A-Za-z0-9]{8}", "[A-Za-z0-9]{32}", _MIXED),
    Shape(".", "abcdef0123456789", 32, "[a-f0-9]{32}", r"[\w\-]{16}", r"[a-f0-9]{32}\.[\w\-]{16,24}(?![\w\-])"),
)  # fmt: skip

UNCOMMON = ("_mmk", "-us", ".atlasv1.", "JQQJ99", ".acc_", ".acc-", "hook")
"""Marks of what `SHAPES` and webhooks match, in texts of letters, digits and ``_-./`` only."""

STARTS = frozenset({prefix for prefix, *_ in FORMATS} | {"A3-", "4b1d", "s.", "pat", "re_", "1/", "ey"})
"""Beginnings of whatever can be a key, where a word begins."""

_IN_ORDER = sorted(STARTS)


def is_open_head(head: str) -> bool:
    """Whether a key may begin in the first part of an id, and end in what follows.

    Args:
        head: Letters, digits and ``_-``, the last of which is not a letter or digit.
    """
    for at in range(len(head)):
        if at == 0 or head[at - 1] in "_-":
            word = head[at:]
            # In this order the next one begins with the word, if any longer one does.
            following = bisect_right(_IN_ORDER, word)
            if following < len(_IN_ORDER) and _IN_ORDER[following].startswith(word):
                return True
    return False


def any_prefix(*more: str) -> str:
    """Pattern of any prefix in `FORMATS`, and of some more."""
    return any_of({prefix for prefix, *_ in FORMATS} | set(more))


def any_of(texts: Iterable[str]) -> str:
    """Pattern of any of many texts; of those that begin alike the longest is tried first."""
    by_first: dict[str, list[str]] = {}
    for start in sorted(texts, reverse=True):
        by_first.setdefault(start[0], []).append(re.escape(start[1:]))
    # Grouped by their first character: a few comparisons, in place of some hundred, where a word begins.
    grouped = "|".join(f"{re.escape(first)}(?:{'|'.join(rests)})" for first, rests in by_first.items())
    return f"(?:{grouped})"


_BY_OPENING: dict[str, tuple[str, ...]] = {}
for _start in sorted(STARTS):
    _BY_OPENING[_start[:2]] = (*_BY_OPENING.get(_start[:2], ()), _start)
OPENINGS = frozenset(_BY_OPENING)
"""The first two characters of `STARTS`."""


def _opening() -> str:
    seconds: dict[str, str] = {}
    for opening in sorted(OPENINGS):
        seconds[opening[0]] = seconds.get(opening[0], "") + opening[1]
    return rf"[_\-./](?={'|'.join(f'{first}[{re.escape(those)}]' for first, those in seconds.items())})"


_OPENING = late_pattern(_opening)


def has_start(text: str) -> bool:
    """Whether one of `STARTS` is in a text, where a word begins.

    One pattern of all of them would take three milliseconds of every process to compile.

    Args:
        text: Letters, digits and ``_-./``, the first of which is one of the latter.
    """
    for match in _OPENING.finditer(text):
        at = match.end()
        if text.startswith(_BY_OPENING[text[at : at + 2]], at):
            return True
    return False


Search = Callable[[str], "re.Match[str] | None"]


def hints() -> tuple[Search, Search]:
    """What a text of letters, digits and ``_-./`` holds beside `STARTS` if any key can be in it, as two searches.

    Ids pass here with every call: each pattern begins with a few characters, which are looked for at once. One
    pattern for everything would be tried at each character, which takes several times as long.

    Returns:
        Marks of keys; these where the text has a dot.
    """
    return (
        late_pattern("|".join(map(re.escape, UNCOMMON))).search,
        late_pattern(r"[a-f0-9]{32}\.|[A-Za-z0-9]{8}\.[A-Za-z0-9]{32}").search,
    )
