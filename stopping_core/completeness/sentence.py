"""Whether a text ends where a sentence or a structure does."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from stopping_core.completeness.fences import find_open
from stopping_core.completeness.json_text import parse
from stopping_core.results import Draft, Verdict
from stopping_core.sentence_ends import TAIL, ends_sentence, is_label
from stopping_core.types import Request

_FAR = 256  # characters of the last line that are looked at, so that no pattern runs long
# Thai, Lao: sentences end in a space and no sign, so nothing can be said against an end.
_UNMARKED = re.compile(r"[\u0e00-\u0eff]\Z")
_ABBREVIATION = re.compile(r"(?:\A|[\s(])(?:e\.g|i\.e|cf|vs|approx|Dr|Mr|Mrs|Ms|Prof|Fig)\.\Z")
_NOTE = re.compile(r"(?:\s*\[\^?\w{1,12}\](?:\([^()\s]*\))?)+\Z")
_ITEM = re.compile(r"[ \t]*(?:[-*+•]|\(?(?:\d{1,9}|[A-Za-z])[.)])(?:[ \t]+(?P<text>.*)|\Z)")
_DANGLING = re.compile(
    r"(?:\A|\s)(?:a|an|and|are|as|at|because|but|by|for|from|if|in|is|nor|of|on|or|so|that|the|to"
    r"|was|were|which|while|with)\W*\Z",
    re.IGNORECASE,
)
_OPEN_ENDED = frozenset(",;:-–—([{&+=/\\<،؛、，；：（")


@dataclass(frozen=True, slots=True)
class EndsSentence:
    """Incomplete unless the text ends at the end of a sentence or of a structure.

    A sentence ends in its sign, with quotes, brackets, emphasis, citations and emoji after it.
    Closed code fences, formulas, table rows, JSON texts and list items with some text end without
    one; a list item that breaks off in a comma, a colon or a word such as "and" does not. Thai and
    Lao have no sign, so any end will do. A bare answer ("Paris") is no sentence: where such answers
    are right, use ``any_of(EndsSentence(), AnswerPresent())`` or leave this check out.

    It cannot know that a list was to have five items, and an abbreviation may look like an end.

    Examples:
        >>> EndsSentence()(Request(), Draft("Paris is the capital of")).reason
        "the text ends in 'capital of', not at the end of a sentence"
    """

    def __call__(self, request: Request, draft: Draft, /) -> Verdict:
        """Check the end of the text."""
        text = draft.text.strip()
        if not text:
            return Verdict(False, "the answer is empty")
        left = find_open(text)
        if left is not None:
            return Verdict(False, f"{left.what} opened on line {left.line} is not closed")
        last = text.rpartition("\n")[2].strip()
        if _ends_structure(last) or (text[0] in '[{"' and not parse(text).reason):
            return Verdict(True)
        item = _ITEM.match(last)
        if item is None and is_label(last[-TAIL:]):
            return Verdict(False, f"nothing follows the label {last!r}")
        if item:
            return _check_item(item["text"] or "", last)
        if _ends_sentence(last):
            return Verdict(True)
        tail = " ".join(last.split()[-2:])[-40:]
        return Verdict(False, f"the text ends in {tail!r}, not at the end of a sentence")


def _check_item(text: str, last: str) -> Verdict:
    if not text.strip():
        return Verdict(False, f"list item {last!r} is empty")
    if _ends_sentence(text):
        return Verdict(True)
    if text.rstrip()[-1] in _OPEN_ENDED or _DANGLING.search(text[-_FAR:]):
        return Verdict(
            False, f"the last list item breaks off in {text.rsplit(maxsplit=1)[-1][-40:]!r}"
        )
    return Verdict(True)


def _ends_structure(last: str) -> bool:
    row = len(last) > 1 and last[0] == "|" and last[-1] == "|"
    return row or last.startswith(("```", "~~~")) or last.endswith(("$$", "\\]"))


def _ends_sentence(line: str) -> bool:
    core = _NOTE.sub("", line.rstrip()[-_FAR:])
    end = len(core)
    while end and _is_ornament(core[end - 1]):
        end -= 1
    core = core[:end]
    if ends_sentence(core[-TAIL:]):
        return _ABBREVIATION.search(core) is None
    return _UNMARKED.search(core) is not None


def _is_ornament(character: str) -> bool:
    """Whether a character may follow a sentence without being a part of it."""
    # Emoji are symbols, joined and coloured by modifiers and format characters.
    return (
        character.isspace()
        or character in "`~\ufe0f"
        or unicodedata.category(character) in {"So", "Sk", "Cf"}
    )
