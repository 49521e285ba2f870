"""Join a continuation to its prefix without repeating what the model said twice."""

from __future__ import annotations

_WINDOW = 400
_MINIMUM = 12
_SPACELESS = "\u0e00"  # scripts from Thai on are mostly written without blanks


def stitch(prefix: str, continuation: str, *, minimum: int = _MINIMUM) -> str:
    """Return prefix plus continuation, with the overlap of the two kept once.

    Models that are asked to go on, rather than prefilled, often begin by repeating their last
    words, or all of them. The overlap is the longest end of ``prefix`` that ``continuation`` begins
    with. Where there is none, two words that meet get a blank between them: a prefix that broke off
    inside a word, and is not repeated, is joined wrongly.

    Args:
        prefix: Text that stands.
        continuation: Text that follows, perhaps beginning with a part of the prefix.
        minimum: Shortest overlap that is taken for a repetition, characters, >= 1, unless it is the
            whole prefix. Shorter ones may be chance (``"ha"`` after ``"ha ha "``) and are kept.

    Examples:
        >>> stitch("The capital of France", "capital of France is Paris.")
        'The capital of France is Paris.'
        >>> stitch("ha ", "ha")
        'ha ha'
    """
    stitcher = Stitcher(prefix, minimum=minimum)
    return prefix + stitcher.feed(continuation) + stitcher.finish()


class Stitcher:
    """Removes the overlap from a streamed continuation.

    Text is held back only while it could still be a repetition of the prefix, at most 400
    characters unless the model repeats the whole prefix.

    Args:
        prefix: Text that stands.
        minimum: As in :func:`stitch`.
    """

    def __init__(self, prefix: str, *, minimum: int = _MINIMUM) -> None:
        if minimum < 1:
            raise ValueError(f"minimum must be >= 1, got {minimum}")
        self._minimum = minimum
        self._held = ""
        # Ends of the prefix that the continuation may repeat: the last _WINDOW characters' worth,
        # and the whole, however short: a model that begins again is no chance.
        start = max(1, len(prefix) - _WINDOW)
        ends = [prefix[i:] for i in range(start, len(prefix) - minimum + 1)]
        self._open = [prefix, *ends] if prefix else []
        self._last = prefix[-1:]
        self._overlap = 0

    def feed(self, text: str) -> str:
        """Take more of the continuation; return what is certainly new."""
        if not self._open:
            return text
        self._held += text
        still_open = []
        for end in self._open:
            if self._held.startswith(end):
                self._overlap = max(self._overlap, len(end))
            elif end.startswith(self._held):
                still_open.append(end)
        self._open = still_open
        return "" if still_open else self.finish()

    def finish(self) -> str:
        """Take the end of the continuation; return what was held back and is new.

        A repetition that broke off in its middle is none of it new.
        """
        if self._open and len(self._held) >= self._minimum:
            self._overlap = len(self._held)
        new, joined = self._held[self._overlap :], self._overlap > 0
        self._held, self._open, self._overlap = "", [], 0
        last, self._last = self._last, ""
        return new if joined or not _are_words(last, new[:1]) else f" {new}"


def _are_words(last: str, first: str) -> bool:
    """Whether a blank belongs between two characters, in a script that is written with blanks.

    A model that is asked to go on begins with a word, and without the blank before it.
    """
    spaced = last < _SPACELESS and first < _SPACELESS
    return spaced and first.isalnum() and (last.isalnum() or last in ".,;:!?)")
