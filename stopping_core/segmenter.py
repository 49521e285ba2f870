"""Cuts raw steps at the boundaries inside them, so that nothing after it depends on chunking."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator

from stopping_core.sentence_ends import (
    CLOSERS,
    FREE_TERMINATORS,
    TAIL,
    TERMINATORS,
    ends_before,
    ends_sentence,
    is_label,
)
from stopping_core.structures import LONG_RUN, ListTracker, Search, Structure
from stopping_core.types import Boundary, Channel, Step

_NOTHING = Boundary.NONE
_EVERYTHING = ~Boundary.NONE
_SPACE = re.compile(r"\s+")
_MAY_END = frozenset(TERMINATORS + FREE_TERMINATORS + CLOSERS)


class Segmenter:
    """Turns steps of any size into pieces of text and marks of what ends between them.

    A mark is a step without text and tokens whose ``boundary`` says what ends at its place. The
    text is unchanged: the pieces add up to it. Places and kinds of the marks depend on the text
    alone. White space is held back until what follows it is known, so that a mark stands where the
    text ends and not after the blanks; one place may get several marks, each with what is new:

    - SENTENCE before the character that confirms it, as :mod:`~stopping_core.sentence_ends` says;
    - LINE, with SENTENCE where the line ends one, at a newline; PARAGRAPH at a blank line;
    - JSON right after the bracket that closes a value, FENCE at the closing run of a code fence;
    - LIST, where something that is not part of the list follows a blank line.

    Inside a fence or a JSON value only lines end. A run of ``LONG_RUN`` blanks ends all that the
    end of the text would end, and is let go: a model that loops on blanks must be seen. So is the
    text of a channel at a change of channel.

    State is constant in size, apart from one byte for each open bracket of a JSON value. After a
    ``feed`` that was not consumed to its end the object is used up.
    """

    def __init__(self) -> None:
        self._channel: Channel = "answer"
        self._held: list[Step] = []
        self._begin()

    def _begin(self) -> None:
        self._structure = Structure()
        self._list = ListTracker()
        self._tail = ""  # of the line, at most TAIL characters
        self._marked = _EVERYTHING  # what needs no mark any more at the end of the last text
        self._resting = True  # whether the last character was white space, or there was none
        self._blanks = ""  # the last TAIL characters of the white space since the last text
        self._run = 0  # its length
        self._newlines = 1  # in it; the text begins a line
        self._indent = 0
        self._plain: Search | None = None

    def feed(self, step: Step) -> Iterator[Step]:
        """Yield pieces and marks as far as the step settles them.

        A step without text passes as it is. The tokens of a step that is cut are shared out by
        characters, rounded up: a piece ends after the token that its last character is in. The
        first piece of a token has its logprobs, the others have none.

        Args:
            step: The next chunk of the stream.

        Yields:
            Pieces and marks. A consumer that stops at a mark has trimmed the rest of the chunk.
        """
        text = step.text
        if not text:
            yield step
        elif self._plain and step.channel == self._channel and self._plain(text, 0) is None:
            self._tail = (self._tail + text)[-TAIL:]
            yield step
        else:
            if step.channel != self._channel:
                yield from self.flush()
                self._channel = step.channel
            yield from self._cut(_Chunk(step))
            self._plain = self._find_plain()

    def flush(self) -> Iterator[Step]:
        """Yield what the end of the text confirms, then the text held back.

        Afterwards the object is as new.
        """
        end = _Chunk(Step("", tokens=0, channel=self._channel))
        if self._list.pending:
            yield from self._settle_word(end, 0, label=self._list.open)
        if not self._resting:
            self._structure.space("\n")
        yield from self._mark(end, self._end_of_text(final=True))
        yield from self._release(end, 0)
        self._begin()

    def _cut(self, chunk: _Chunk) -> Iterator[Step]:
        text, pos = chunk.text, 0
        while pos < len(text):
            if space := _SPACE.match(text, pos):
                if self._list.pending:
                    yield from self._settle_word(chunk, pos, label=True)
                yield from self._take_space(chunk, pos, space.end())
                pos = space.end()
                if self._marked == _EVERYTHING:
                    yield from self._release(chunk, pos)
            else:
                if self._resting:
                    yield from self._resume(chunk, pos)
                if self._list.pending:
                    pos = yield from self._take_word(chunk, pos)
                else:
                    pos = yield from self._take_text(chunk, pos)
        yield from chunk.settled()
        if chunk.done < len(text):
            self._held.append(chunk.piece(len(text)))

    def _take_space(self, chunk: _Chunk, pos: int, end: int) -> Iterator[Step]:
        """Take a run of white space, or a part of one, and mark what it confirms before it."""
        text = chunk.text
        if not self._resting:
            self._resting = True
            if confirmed := self._structure.space(text[pos]):
                yield from self._mark(chunk, confirmed)
        lines, run = self._newlines, self._run
        self._newlines += text.count("\n", pos, end)
        self._run += end - pos
        if self._newlines > lines or self._run >= LONG_RUN:
            counted = lines + text.count("\n", pos, max(pos, min(end, pos + LONG_RUN - run)))
            yield from self._end_lines(chunk, lines, counted)
            if run < LONG_RUN <= self._run:
                yield from self._mark(chunk, self._end_of_text(final=False))
                self._marked = _EVERYTHING
            if lines == counted == 0 < self._newlines:
                self._structure.newline()
        if line := text.rfind("\n", pos, end) + 1:
            self._indent = _width(text, line, end)
        elif lines:
            self._indent += _width(text, pos, end)
        self._blanks = (self._blanks + text[max(pos, end - TAIL) : end])[-TAIL:]

    def _end_lines(self, chunk: _Chunk, before: int, after: int) -> Iterator[Step]:
        """Mark what ends as the number of newlines in the white space grows."""
        if before == 0 < after:
            yield from self._mark(chunk, Boundary.LINE | self._sentence(label=False))
            self._structure.newline()
        if before < 2 <= after and not self._structure.open:
            yield from self._mark(chunk, Boundary.PARAGRAPH)

    def _resume(self, chunk: _Chunk, pos: int) -> Iterator[Step]:
        """Mark what the first character after white space confirms, and let the white space go."""
        char = chunk.text[pos]
        if self._newlines:
            inside = self._structure.open
            self._structure.begin_line(char, self._indent, self._list.column)
            if not inside:
                self._list.begin_line(self._indent, blank=self._newlines > 1)
                if not self._structure.prose and self._list.decide(label=False):
                    yield from self._mark(chunk, Boundary.LIST)
            self._tail = ""
        else:
            ended = self._tail[-1:] in _MAY_END and self._structure.prose
            if ended and ends_before(self._tail, char):
                yield from self._mark(chunk, Boundary.SENTENCE)
            self._tail = (self._tail + self._blanks)[-TAIL:]
        self._resting, self._blanks, self._run, self._newlines = False, "", 0, 0
        if not self._list.holding:
            yield from self._release(chunk, pos)

    def _take_word(self, chunk: _Chunk, pos: int) -> Generator[Step, None, int]:
        """Take the first word of a line while it may be the label of a list item."""
        end = self._list.take(chunk.text, pos)
        self._tail += chunk.text[pos:end]
        if not self._list.holding:
            self._marked = _NOTHING
            chunk.safe = end
        if end < len(chunk.text) and not chunk.text[end].isspace():
            yield from self._settle_word(chunk, end, label=False)
        return end

    def _settle_word(self, chunk: _Chunk, pos: int, *, label: bool) -> Iterator[Step]:
        holding = self._list.holding
        if self._list.decide(label=label):
            yield from self._mark(chunk, Boundary.LIST)
        if holding:
            self._marked = _NOTHING
            yield from self._release(chunk, pos)

    def _take_text(self, chunk: _Chunk, pos: int) -> Generator[Step, None, int]:
        """Take text as far as one thing goes, and mark what ends with it."""
        text = chunk.text
        end, boundary = self._structure.take(text, pos)
        self._tail = (self._tail + text[max(pos, end - TAIL) : end])[-TAIL:]
        self._marked = _NOTHING
        chunk.safe = end
        if boundary:
            yield from self._mark(chunk, boundary)
            if boundary == Boundary.JSON:
                self._tail = text[end - 1]  # no sentence ends in what the value says
        return end

    def _mark(self, chunk: _Chunk, boundary: Boundary) -> Iterator[Step]:
        """Yield the text up to the last settled place and a mark of what is new there."""
        if new := boundary & ~self._marked:
            self._marked |= new
            yield from chunk.settled()
            yield Step("", tokens=0, channel=self._channel, boundary=new)

    def _release(self, chunk: _Chunk, pos: int) -> Iterator[Step]:
        """Let go all that was held back before ``pos``."""
        if self._held:
            held, self._held = self._held, []
            yield from held
        else:
            yield from chunk.settled()
        chunk.safe = pos

    def _sentence(self, *, label: bool) -> Boundary:
        """SENTENCE where the line ends one; labels such as ``1.`` do if the caller says so."""
        ends = self._structure.prose and ends_sentence(self._tail)
        return Boundary.SENTENCE if ends and (label or not is_label(self._tail)) else _NOTHING

    def _end_of_text(self, *, final: bool) -> Boundary:
        """What ends here if no more text comes; in what is still open only the line, or all."""
        ends = Boundary.LINE | self._sentence(label=True)
        if final:
            self._structure.newline()
        if final or not self._structure.open:
            ends |= Boundary.PARAGRAPH
        if self._list.open and not self._structure.open:
            self._list.close()
            ends |= Boundary.LIST
        return ends

    def _find_plain(self) -> Search | None:
        """What to search for in the next piece to tell that nothing ends in it, if that will do."""
        if self._resting or self._list.pending:
            return None
        if self._structure.prose and self._tail[-1:] in _MAY_END:
            return None
        return self._structure.plain


class _Chunk:
    """A step that is being cut: ``text[:done]`` was yielded, ``text[:safe]`` may be."""

    __slots__ = ("done", "safe", "step", "text")

    def __init__(self, step: Step) -> None:
        self.step = step
        self.text = step.text
        self.done = 0
        self.safe = 0

    def settled(self) -> Iterator[Step]:
        """Yield what may be yielded and was not yet."""
        if self.done < self.safe:
            yield self.piece(self.safe)

    def piece(self, end: int) -> Step:
        """Cut off the text up to ``end``."""
        start, self.done = self.done, end
        step, size = self.step, len(self.text)
        if end - start == size:
            return step
        tokens = -(-step.tokens * end // size) + (-step.tokens * start // size)
        finish_reason = step.finish_reason if end == size else None
        text = self.text[start:end]
        if not tokens:
            return Step(text, tokens=0, channel=step.channel, finish_reason=finish_reason)
        return Step(
            text,
            tokens,
            logprob=step.logprob,
            top_logprobs=step.top_logprobs,
            entropy=step.entropy,
            margin=step.margin,
            end_probability=step.end_probability,
            channel=step.channel,
            finish_reason=finish_reason,
            raw=step.raw,
        )


def _width(text: str, start: int, end: int) -> int:
    """Columns of the white space in ``text[start:end]``; a tab counts as four."""
    return end - start + 3 * text.count("\t", start, end)
