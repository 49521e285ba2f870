"""What to do with an answer that is not complete."""

from __future__ import annotations

from stopping_core.completeness import broke_off, is_blocked, is_truncated
from stopping_core.results import CallKind, Draft
from stopping_core.signals import find_loop


def triage(draft: Draft, *, shown: bool = False) -> CallKind | None:
    """Choose how the next call goes on from an incomplete draft.

    Args:
        draft: The draft that failed its completeness check.
        shown: Whether its text was already given to the user. Such text is never taken back: there
            is no restart, and a loop in it cannot be dropped.

    Returns:
        ``close_reasoning`` where the budget went into reasoning and no answer came;
        ``reseed`` where the text runs in a loop, which is dropped; ``continue`` where it was on
        track and only broke off; ``restart`` where the model ended by itself and still left it
        incomplete, or there is nothing to keep. None where nothing can help: a loop that was
        shown, a content filter.
    """
    if is_blocked(draft.finish_reason):
        return None
    if not draft.text.strip():
        ate_it = draft.finish_reason == "cut" or is_truncated(draft.finish_reason)
        if draft.reasoning.strip() and ate_it:
            return "close_reasoning"
        return "continue" if shown else "restart"
    if draft.decision.keep is not None or find_loop(draft.text) is not None:
        return None if shown else "reseed"
    return "continue" if broke_off(draft.finish_reason) or shown else "restart"
