"""The limits that no budget may exceed."""

from __future__ import annotations

from numbers import Integral

from stopping_core.ledger import Ledger
from stopping_core.types import Request


def cap(
    grant: int | None, request: Request, ledger: Ledger, *, must_grow: bool = True
) -> int | None:
    """Cap a grant by the limits of the request and of the model.

    Args:
        grant: Total output tokens for the answer, or None for no more: what a schedule gave.
        request: Its ``max_tokens``, ``max_output_tokens``, and ``context_window`` less
            ``prompt_tokens`` are the limits, as far as they are known.
        ledger: The attempts so far.
        must_grow: Whether the last grant was too small. If not, what is left of it is enough.

    Returns:
        The grant or the least of the limits. None where that is not more than what stands already,
        or, if it must grow, than was granted before: a retry never repeats the budget that was
        just too small.

    Raises:
        ValueError: The grant is no whole number.

    Examples:
        >>> cap(512, Request(prompt_tokens=4000, context_window=4096), Ledger())
        96
    """
    if grant is None:
        return None
    if not isinstance(grant, Integral) or isinstance(grant, bool):
        raise ValueError(f"budget must grant a whole number of tokens or None, got {grant!r}")
    limits = [int(grant)]
    limits += [x for x in (request.max_tokens, request.max_output_tokens) if x is not None]
    if request.context_window is not None:
        limits.append(request.context_window - (request.prompt_tokens or 0))
    least = min(limits)
    if must_grow:
        return least if least > ledger.granted else None
    if ledger.granted > ledger.kept:
        least = min(least, ledger.granted)
    return least if least > ledger.kept else None
