"""What a stop has lost, told from both answers of an audited request."""

from __future__ import annotations

import logging
from collections.abc import Callable

from stopping_core.faults import unquoted
from stopping_core.metrics import GRADERS
from stopping_core.results import Audit
from stopping_core.types import Request

_log = logging.getLogger(__name__)


class GoldLoss:
    """1 where the full answer is right and the cut one is not, by gold answers that are known.

    It is the loss that certificates are about. Gold answers of a part of the traffic will do, such
    as of test questions that run along, as long as the rest is drawn as that part is: requests
    without are left out of the tests.

    Args:
        grader: Name in ``stopping_core.metrics.GRADERS``, as the certificate has it.
        gold: Returns the gold answers of a request, none where they are not known. By default
            those under ``"gold"`` of its metadata.

    Raises:
        ValueError: There is no such grader.
    """

    def __init__(
        self, grader: str, gold: Callable[[Request], tuple[str, ...]] | None = None
    ) -> None:
        if grader not in GRADERS:
            raise ValueError(f"grader must be one of {sorted(GRADERS)}, got {grader!r}")
        self._grade = GRADERS[grader]
        self._gold = gold if gold is not None else gold_in_metadata

    def knows(self, request: Request) -> bool:
        """Whether a gold answer of the request is known."""
        return bool(self._gold(request))

    def __call__(self, request: Request, audit: Audit) -> float | None:
        """Return the loss, None where no gold answer is known."""
        gold = self._gold(request)
        if not gold:
            return None
        capped = audit.finish_reason == "length"
        if self._grade(audit.full, gold, open_end=capped) < 1:
            return 0.0
        return 0.0 if self._grade(audit.cut, gold, open_end=False) >= 1 else 1.0


class JudgedLoss:
    """By how much the full answer is better than the cut one, as a judge grades them.

    Args:
        grade: Grades an answer to a request in [0, 1]: a model's judgement, a rule. It is asked
            twice an audit, from the thread of the request: a slow one belongs behind a queue.
    """

    def __init__(self, grade: Callable[[Request, str], float]) -> None:
        self._grade = grade

    def __call__(self, request: Request, audit: Audit) -> float:
        """Return the loss, in [0, 1]."""
        full, cut = (self._grade(request, text) for text in (audit.full, audit.cut))
        return min(1.0, max(0.0, full - cut))


def knows(loss: object, request: Request) -> bool:
    """Whether what a stop of a request loses can be told.

    Where its ``knows`` fails it is taken to say so: what cannot be graded then counts as lost.
    """
    told = getattr(loss, "knows", None)
    try:
        return bool(told(request)) if callable(told) else True
    except Exception as error:
        _log.error("knows failed: %r: %s", loss, unquoted(error))
        return True


def gold_in_metadata(request: Request) -> tuple[str, ...]:
    """The gold answers under ``"gold"`` of a request's metadata."""
    gold = request.metadata.get("gold") or ()
    return (gold,) if isinstance(gold, str) else tuple(map(str, gold))
