"""Where a sentence ends: pure rules over the last characters of a line.

In doubt there is no end: an end that is missed costs a few tokens until the next one, an end that
is false cuts a sentence in two. Nothing here keeps state, so nothing can depend on how a text came.
"""

from __future__ import annotations

import re

TERMINATORS = ".!?…‼⁇⁈⁉‽"
"""End a sentence when white space and a fitting character follow."""

FREE_TERMINATORS = "。｡！？।॥؟۔።፧။។៕։"
"""End a sentence whatever follows: their scripts put no space after them, or no capital."""

CLOSERS = "\"'”’“‘»«›‹)]}*_」』）】》〉］｝"
"""Belong to the sentence when they come right after its terminator. German closes with “ and «."""

FREE_CLOSERS = "\"'”’»)]}」』）】》〉］｝"
"""The same after a free terminator, where “ « * and _ are likelier to open what comes next."""

TAIL = 64
"""How many characters of the line the rules need, at most."""

# "etc." is not here: a capital after it begins a sentence.
_ENGLISH = """
    mr mrs ms dr prof rev hon sr jr st mt ft gen col lt sgt capt cmdr gov sen rep pres ph.d
    vs v cf viz al inc ltd co corp dept approx resp eg ie ed eds
"""
_GERMAN = "bzw ca evtl ggf inkl exkl vgl hr fr bspw sog geb z str tel zzgl abb"
_FRENCH = "mme mmes mlle mgr env ex av"
_SPANISH = "sra srta dra ud uds dña aprox ee uu"
_COUNTED = """
    no nos nr núm fig figs eq eqs vol vols ch chap sec art p pp pg pág par abs bd c b d
    jan feb mar apr jun jul aug sep sept oct nov dec
"""

ABBREVIATIONS = frozenset(f"{_ENGLISH} {_GERMAN} {_FRENCH} {_SPANISH}".split())
"""Words, case-folded and without their last dot, that never end a sentence inside a line."""

BEFORE_NUMBERS = frozenset(_COUNTED.split())
"""Words, case-folded and without their dot, that end no sentence when a digit follows."""

_UNFIT = frozenset(TERMINATORS + FREE_TERMINATORS + ",;:)]}”’»›[=<+/|&%")
"""Cannot begin a sentence. ``[`` mostly opens a citation, which belongs to the sentence before."""

_CITATION = r"(?:\s?\[\^?\d{1,4}(?:[,–-]\s?\d{1,4}){0,9}\])*"
_END = re.compile(
    rf"([{re.escape(TERMINATORS)}]+)[{re.escape(CLOSERS)}]*"
    rf"(?:\s?»[{re.escape(CLOSERS)}]*)?{_CITATION}\Z"
)
_FREE_END = re.compile(
    rf"[{FREE_TERMINATORS}][{re.escape(TERMINATORS)}{FREE_TERMINATORS}]*"
    rf"[{re.escape(FREE_CLOSERS)}]*\Z"
)
_LABEL = re.compile(r"[#>*_(\[\s]*(?:\d{1,9}(?:\.\d{1,9}){0,5}|[A-Za-z]|[ivxIVX]{1,5})\.[*_)\]]*")
_LAST_WORD = re.compile(r"[^\s/—–-]*\Z")
_GERMAN_ORDINAL = re.compile(
    r"(?:\b(?:der|dem|den|des|die|vom|zum)|(?<!\bI )\bam)\s\d{1,2}\Z", re.IGNORECASE
)


def ends_sentence(tail: str) -> bool:
    """Say whether a text that ends in ``tail``, and goes no further, ends a sentence.

    Args:
        tail: The last ``TAIL`` characters of the line, white space at its end left out.
    """
    return _END.search(tail) is not None or _FREE_END.search(tail) is not None


def is_label(tail: str) -> bool:
    """Say whether the line so far only labels what follows, as in ``1.`` or ``## 2.3.``."""
    return _LABEL.fullmatch(tail) is not None


def ends_before(tail: str, following: str) -> bool:
    """Say whether a sentence ends after ``tail`` when, after white space, ``following`` comes.

    It sees one character ahead, so it takes every single capital for an initial ("plan B. Then"
    has no end) and a word such as "Inc." for the middle of a name.

    Args:
        tail: The last ``TAIL`` characters of the line, white space at its end left out.
        following: The next character of the same line that is not white space.

    Examples:
        >>> ends_before("He knows Dr.", "S"), ends_before("He knows it.", "S")
        (False, True)
    """
    if _FREE_END.search(tail):
        return True
    end = _END.search(tail)
    if end is None or following.islower() or following in _UNFIT:
        return False
    return end[1] != "." or not (is_label(tail) or _abbreviates(tail[: end.start()], following))


def _abbreviates(before: str, following: str) -> bool:
    """Say whether a dot after ``before`` belongs to its last word and not to the sentence."""
    found = _LAST_WORD.search(before)
    word = found[0].lstrip("([{\"'“‘«„*_") if found else ""
    if len(word) == 1 and word.isupper():
        return True
    letters = word.split(".")
    if len(letters) > 1 and all(len(letter) == 1 and letter.isalpha() for letter in letters):
        return True
    folded = word.casefold()
    if folded in ABBREVIATIONS:
        return True
    if following.isdigit():
        return folded in BEFORE_NUMBERS
    return word.isdigit() and _GERMAN_ORDINAL.search(before) is not None
