"""The first sentence of an answer, for grades that a rambling tail would lower."""

from __future__ import annotations

from stopping_core.segmenter import Segmenter
from stopping_core.types import Boundary, Step

_ENDS = Boundary.SENTENCE | Boundary.LINE


def first_sentence(text: str) -> str:
    """Return the first sentence, or the first line where that ends before.

    Its F1 tells whether the answer was right when it was given: the F1 of the whole output rises
    when a rambling tail is cut. Ends are those that the stopping rules see. A line that ends in a
    colon only announces what follows, and goes on.

    Examples:
        >>> first_sentence("It was Dr. Smith. He came late.")
        'It was Dr. Smith.'
    """
    said = ""
    for piece in Segmenter().feed(Step(f"{text}\n")):
        if piece.boundary & _ENDS and not said.endswith(":"):
            break
        said += piece.text
    return said.strip()
