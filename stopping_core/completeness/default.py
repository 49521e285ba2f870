"""The check that is used where none was chosen."""

from __future__ import annotations

from dataclasses import dataclass

from stopping_core.completeness.compose import all_of
from stopping_core.completeness.fences import ClosedFences
from stopping_core.completeness.finish import FinishReason, is_tool_call
from stopping_core.completeness.json_text import ClosedJson
from stopping_core.protocols import CompletenessCheck
from stopping_core.results import Draft, Verdict
from stopping_core.types import Request


@dataclass(frozen=True, slots=True)
class NotEmpty:
    """Incomplete where there is no text, unless the model called a tool instead."""

    def __call__(self, request: Request, draft: Draft, /) -> Verdict:
        """Look for any text."""
        if draft.text.strip() or is_tool_call(draft.finish_reason):
            return Verdict(True)
        return Verdict(False, "the answer is empty")


def default_check() -> CompletenessCheck:
    """Incomplete only where that is certain, whatever the answer is about.

    The model was cut off, a code fence or formula is open, JSON that the text begins with is not
    closed, or there is no text. That a text does not end in a full stop proves nothing.

    Examples:
        >>> check = default_check()
        >>> check(Request(), Draft("Paris", finish_reason="stop")).complete
        True
        >>> check(Request(), Draft('{"city": "Paris"', finish_reason="stop")).reason
        'the JSON that the text begins with is not closed: 1 bracket is open'
    """
    return all_of(NotEmpty(), FinishReason(), ClosedFences(), ClosedJson())
