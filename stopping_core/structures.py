"""What the text is inside of: prose, a code fence, a JSON value, a list. One character decides.

Each class reads a text in pieces of any size and keeps the same state after the same characters.
White space that can matter (a newline, the end of a piece, a long run) is never consumed here: it
is the segmenter's, which tells of it by ``space`` and ``newline``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum, auto

from stopping_core.sentence_ends import CLOSERS, FREE_CLOSERS, FREE_TERMINATORS, TERMINATORS
from stopping_core.types import Boundary

LONG_RUN = 128
"""White space of this length is an end of its own: a model that loops on blanks must be seen."""

Search = Callable[[str, int], "re.Match[str] | None"]

_SPACE = rf"\n|\s\Z|(?<!\s)\s{{{LONG_RUN}}}"
_PROSE = re.compile(
    rf"[{FREE_TERMINATORS}]|[{re.escape(TERMINATORS + CLOSERS)}](?=\s|\Z)|{_SPACE}"
).search
_CODE = re.compile(_SPACE).search
_STRING = re.compile(rf'["\\]|{_SPACE}').search
# Outside its strings JSON has brackets, quotes, numbers and the letters of five words.
_VALUE = re.compile(rf"[^ \t\r\n\d+\-.,:eEtrufalsnNIiy]|{_SPACE}").search
_PAIRS = {ord("{"): "}", ord("["): "]"}
_FREE_REST = re.compile(rf"[{re.escape(TERMINATORS + FREE_TERMINATORS + FREE_CLOSERS)}]*")

_LIST_LABEL = re.compile(r"[-*+•◦▪‣]|\d{1,9}[.)]")
_LIST_LABEL_PREFIX = re.compile(r"[-*+•◦▪‣]|\d{1,9}[.)]?")


def before_space(text: str, start: int, end: int) -> int:
    """Return the end of ``text[start:end]`` without the white space that it ends in."""
    while end > start and text[end - 1].isspace():
        end -= 1
    return end


class JsonTracker:
    """Follows one JSON value to its closing bracket: strings, escapes and a stack of brackets.

    It tells where a value ends, not whether it is valid: what it checks are brackets, characters
    that JSON does not know outside strings, and newlines inside them. One byte a level of nesting.
    """

    def __init__(self) -> None:
        self.open = False
        self._string = False
        self._escaped = False
        self._brackets = bytearray()

    @property
    def plain(self) -> Search | None:
        """What to search for in a piece that may hold nothing but the inside of a string."""
        return _STRING if self._string and not self._escaped else None

    def begin(self) -> None:
        """Follow the value whose opening bracket is the next character."""
        self.open, self._string, self._escaped = True, False, False
        self._brackets.clear()

    def newline(self) -> None:
        """Give up where a string runs over the end of its line."""
        self.open = self.open and not self._string

    def take(self, text: str, pos: int) -> tuple[int, bool]:
        """Return where reading ended, and whether the value closed there.

        Reading ends at white space that matters, where the value closes and where it is given up,
        before the character that is the reason (``open`` is then False).
        """
        size = len(text)
        while pos < size:
            if self._escaped:
                if text[pos].isspace():
                    return pos, False
                self._escaped = False
                pos += 1
                continue
            event = (_STRING if self._string else _VALUE)(text, pos)
            if event is None:
                return size, False
            at = event.start()
            char = text[at]
            if char.isspace():
                return before_space(text, pos, at), False
            if char == '"':
                self._string = not self._string
            elif char == "\\" and self._string:
                self._escaped = True
            elif char in "{[":
                self._brackets.append(ord(char))
            elif char in "}]" and self._brackets and _PAIRS[self._brackets[-1]] == char:
                self._brackets.pop()
                if not self._brackets:
                    self.open = False
                    return at + 1, True
            else:
                end = before_space(text, pos, at)
                self.open = end < at  # white space first, then this character again
                return end, False
            pos = at + 1
            if pos < size and text[pos].isspace():
                return pos, False
        return pos, False


class _Mode(Enum):
    PROSE = auto()
    CODE = auto()
    JSON = auto()
    OPENING = auto()  # a run of fence characters at the start of a line
    INFO = auto()  # what follows such a run on its line
    CLOSING = auto()  # a run of the open fence's character at the start of a line


class Structure:
    """Knows whether the text is inside prose, a code fence or a JSON value.

    Fences are CommonMark's: three or more backticks or tildes after at most three spaces, counted
    from the text of the list item that they stand in. A fence counts as closed at the character
    that makes the closing run as long as the opening one; where other text follows on that line
    the mark was early, and the fence goes on. A JSON value begins with the first character of a
    line of prose, or stands first in a fence or on the line after another value there.
    """

    def __init__(self) -> None:
        self._mode = _Mode.PROSE
        self._json = JsonTracker()
        self._json_may_begin = False
        self._fence = ""  # the character of the open fence, or of the one that opens
        self._fence_open = False
        self._length = 0
        self._limit = 0
        self._run = 0
        self._free = False  # after a free terminator, before the character that confirms it

    @property
    def prose(self) -> bool:
        """Whether sentences can end here."""
        return self._mode is _Mode.PROSE

    @property
    def open(self) -> bool:
        """Whether a fence or a JSON value is open."""
        return self._fence_open or self._json.open

    @property
    def plain(self) -> Search | None:
        """What to search for in the next piece: where nothing is found, ``take`` need not see it.

        None where only ``take`` can tell.
        """
        if self._mode is _Mode.PROSE:
            return None if self._free else _PROSE
        if self._mode is _Mode.JSON:
            return self._json.plain
        return _CODE if self._mode is _Mode.CODE else None

    def begin_line(self, char: str, indent: int, column: int) -> None:
        """Take note of the first character of a line that is not white space; ``take`` reads it.

        Args:
            char: That character.
            indent: Columns of white space before it.
            column: Column of the text of the list item that the line may belong to, else 0.
        """
        if self._fence_open and char == self._fence and indent <= self._limit:
            self._json.open = False
            self._mode, self._run = _Mode.CLOSING, 0
        elif self._json.open:
            self._mode = _Mode.JSON
        elif char in "{[" and (self._json_may_begin or not self._fence_open):
            self._json.begin()
            self._mode = _Mode.JSON
        elif self._fence_open:
            self._leave_json()
        elif char in "`~" and indent <= column + 3:
            self._fence, self._limit = char, column + 3
            self._mode, self._run = _Mode.OPENING, 0
        else:
            self._mode = _Mode.PROSE

    def take(self, text: str, pos: int) -> tuple[int, Boundary]:
        """Read on from ``pos``, where no white space is; return where to, and what ends there.

        It may end short of the next white space, and even at ``pos`` itself: then it is to be
        called again, for something else has begun.
        """
        if self._mode is _Mode.PROSE:
            return self._take_prose(text, pos)
        if self._mode is _Mode.JSON:
            end, closed = self._json.take(text, pos)
            if closed:
                self._mode = _Mode.CODE if self._fence_open else _Mode.PROSE
                return end, Boundary.JSON
            if not self._json.open:
                self._leave_json()
            return end, Boundary.NONE
        if self._mode is _Mode.CODE:
            event = _CODE(text, pos)
            end = len(text) if event is None else before_space(text, pos, event.start())
            return end, Boundary.NONE
        return self._take_fence(text, pos)

    def space(self, char: str) -> Boundary:
        """Take note of the first white space after text; return what it confirms before it."""
        if self._mode is _Mode.OPENING:
            self._mode = _Mode.INFO if self._run >= 3 else _Mode.PROSE
        elif self._mode is _Mode.CLOSING:
            if 0 <= self._run < self._length:
                self._leave_json()
            else:
                self._run = -1  # any text after this is not part of the closing run
        free, self._free = self._free, False
        return Boundary.SENTENCE if free and char not in "\r\n" else Boundary.NONE

    def newline(self) -> None:
        """Take note of the end of a line, or of the text."""
        if self._mode is _Mode.INFO:
            self._fence_open, self._json_may_begin = True, True
            self._mode, self._length = _Mode.CODE, self._run
        elif self._mode is _Mode.CLOSING:
            self._fence_open, self._mode = False, _Mode.PROSE
        elif self._mode is _Mode.JSON:
            self._json.newline()
            if not self._json.open:
                self._leave_json()

    def _leave_json(self) -> None:
        """Go on with what is around JSON; in a fence no more of it is expected."""
        self._json_may_begin = False
        self._mode = _Mode.CODE if self._fence_open else _Mode.PROSE

    def _take_prose(self, text: str, pos: int) -> tuple[int, Boundary]:
        if not self._free:
            event = _PROSE(text, pos)
            if event is None:
                return len(text), Boundary.NONE
            at = event.start()
            if text[at].isspace():
                return before_space(text, pos, at), Boundary.NONE
            pos = at + 1
            if text[at] not in FREE_TERMINATORS:
                return pos, Boundary.NONE
            self._free = True
        rest = _FREE_REST.match(text, pos)
        end = rest.end() if rest else pos
        if end == len(text) or text[end].isspace():
            return end, Boundary.NONE
        self._free = False
        return end, Boundary.SENTENCE

    def _take_fence(self, text: str, pos: int) -> tuple[int, Boundary]:
        size = len(text)
        if self._mode is _Mode.INFO:
            end = pos
            while end < size and not text[end].isspace():
                if text[end] == self._fence == "`":  # no fence but code in a line of prose
                    self._mode = _Mode.PROSE
                    break
                end += 1
            return end, Boundary.NONE
        closing = self._mode is _Mode.CLOSING
        while pos < size and text[pos] == self._fence and self._run >= 0:
            self._run += 1
            pos += 1
            if closing and self._run == self._length:
                return pos, Boundary.FENCE
        if pos < size and not text[pos].isspace():
            if closing:
                self._leave_json()
            else:
                self._mode = _Mode.INFO if self._run >= 3 else _Mode.PROSE
        return pos, Boundary.NONE


class ListTracker:
    """Knows whether a list is open, and reads the first word of a line while it may be a label.

    A list ends at a blank line after which neither a label nor an indented line follows.
    """

    def __init__(self) -> None:
        self.open = False
        self.column = 0
        self.pending = False
        self._indent = 0
        self._ending = False
        self._word = ""

    @property
    def holding(self) -> bool:
        """Whether it depends on the word that is being read if the list has ended before it."""
        return self.pending and self._ending

    def begin_line(self, indent: int, *, blank: bool) -> None:
        """Begin a line that is indented by so many columns, after a blank line or without one."""
        self.pending, self._word, self._indent = True, "", indent
        self._ending = self.open and blank and indent < 2

    def take(self, text: str, pos: int) -> int:
        """Read on while the word may be a label; return where it no longer may, or ends."""
        while pos < len(text) and _LIST_LABEL_PREFIX.fullmatch(word := self._word + text[pos]):
            self._word = word
            pos += 1
        return pos

    def decide(self, *, label: bool) -> bool:
        """Settle what the line is; return whether the list has ended before it.

        Args:
            label: Whether the word that was read ends here, so that it may be a label.
        """
        self.pending = False
        if label and _LIST_LABEL.fullmatch(self._word):
            self.open, self.column = True, self._indent + len(self._word) + 1
            return False
        if self._ending:
            self.close()
            return True
        return False

    def close(self) -> None:
        """End the list."""
        self.open, self.pending, self._ending, self.column = False, False, False, 0
