"""Whether a cut fell inside a word: the text alone cannot tell."""

from __future__ import annotations

DECIMAL = ".,"
"""Go on with a number when a digit follows."""


def cuts_word(text: str, following: str) -> bool:
    """Whether a cut between a text and what would have followed is inside a word or a number.

    It is what the graders are told as ``open_end``: "the art" may be a whole answer, or what a cut
    left of "the artist".

    Args:
        text: All before the cut.
        following: What came next; two characters will do.

    Examples:
        >>> cuts_word("New Yor", "k is"), cuts_word("New York", " is"), cuts_word("It is 3", ".5")
        (True, False, True)
    """
    if not text or not following or text[-1].isspace():
        return False
    decimal = following[0] in DECIMAL and following[1:2].isdigit()
    return is_word(following[0]) or (text[-1].isdigit() and decimal)


def settled_length(text: str) -> int:
    """Characters that more text leaves as they are, where the last word is not known whole.

    Examples:
        >>> [settled_length(text) for text in ("It is 3", "It is 3.", "It is so. ")]
        [6, 6, 10]
    """
    if not text or text[-1].isspace():
        return len(text)
    return len(text) - (2 if text[-1] in DECIMAL and text[-2:-1].isdigit() else 1)


def is_word(char: str) -> bool:
    r"""Whether ``\w`` matches a character."""
    return char.isalnum() or char == "_"
