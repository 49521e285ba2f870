"""The figures of the page: plain numbers from lists of outcomes and feedback."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date
from typing import Final

import numpy as np

from stopping_core.feedback import Feedback, Outcome
from stopping_core.monitoring import ConfidenceSequence

SATISFACTION: Final = ("thumbs", "judge", "em")
"""The feedback that says how good an answer was, 1 for good."""

SEGMENTS: Final[Mapping[str, Callable[[Outcome], str]]] = {
    "tenant": lambda one: one.tenant,
    "use case": lambda one: one.use_case,
    "model": lambda one: one.model,
}

_LEAST_SHARE: Final = 1e-6
"""Of audits: below it one audit would count for more requests than are ever read."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """What requests took and gave, summed up.

    Args:
        requests: How many.
        billed: Output tokens that were billed: generated, probed, and after a hang-up.
        avoided: Estimate, an upper bound, of the output tokens that cuts saved.
        retried: Requests with more than one call.
        incomplete: Requests whose answer did not pass the completeness check.
        median: Seconds, None where there is no request, as are the next two.
        p90: The 90th percentile of the seconds.
        p99: The 99th.
        satisfaction: Mean of the feedback in :data:`SATISFACTION`, in [0, 1]; None without any.
        judged: How many pieces of such feedback there are.
    """

    requests: int
    billed: int
    avoided: int
    retried: int
    incomplete: int
    median: float | None
    p90: float | None
    p99: float | None
    satisfaction: float | None
    judged: int

    @property
    def saved(self) -> float | None:
        """Share of the output tokens that cuts saved, at most; None where there are no tokens."""
        return _share(self.avoided, self.avoided + self.billed)


@dataclass(frozen=True, slots=True)
class Risk:
    """What stops lose, as far as is known at the end of a day.

    Args:
        day: In UTC.
        requests: Requests so far.
        audited: Stops so far whose audit counts: it was graded, or it failed.
        mean: Estimate of the mean loss of a request: without bias, so it may exceed 1.
        lower: Lower bound of the confidence sequence.
        upper: Upper bound.
    """

    day: date
    requests: int
    audited: int
    mean: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Losses:
    """What audited stops tell of the loss.

    Args:
        mean: As in :class:`Risk`; None where no request says anything of it.
        audited: Likewise.
        failed: Those of them whose audit failed: what would have come is not known, nor that it
            was no loss, so each counts as 1, as :class:`~stopping_core.steering.Pilot` has it.
        ungraded: Audited stops beside them that nobody has graded: they are left out, and many of
            them make the estimate doubtful.
    """

    mean: float | None
    audited: int
    failed: int
    ungraded: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """Output tokens of one day, and how many a request took: where that drifts, look why.

    Args:
        day: In UTC.
        generated: Tokens of all requests; as numbers to draw, not to count with.
        avoided: As in :class:`Numbers`, likewise.
        low: The 10th percentile of the tokens of a request.
        median: The middle one.
        high: The 90th percentile.
    """

    day: date
    generated: float
    avoided: float
    low: float
    median: float
    high: float


def numbers(outcomes: Sequence[Outcome], feedback: Iterable[Feedback]) -> Numbers:
    """Sum up requests, with the feedback on them; that on others is passed over."""
    ids = {one.request_id for one in outcomes}
    given = [one.value for one in feedback if one.kind in SATISFACTION and one.request_id in ids]
    seconds = [one.seconds for one in outcomes]
    return Numbers(
        requests=len(outcomes),
        billed=sum(one.generated + one.probed + one.unseen for one in outcomes),
        avoided=sum(one.avoided for one in outcomes),
        retried=sum(one.attempts > 1 for one in outcomes),
        incomplete=sum(not one.complete for one in outcomes),
        median=quantile(seconds, 0.5),
        p90=quantile(seconds, 0.9),
        p99=quantile(seconds, 0.99),
        satisfaction=_share(sum(given), len(given)),
        judged=len(given),
    )


def tokens(outcomes: Iterable[Outcome]) -> list[Tokens]:
    """Return the tokens of every day on which there were requests."""
    found = []
    for day, ones in _by_day(outcomes).items():
        taken = [one.generated for one in ones]
        low, middle, high = np.quantile(np.asarray(taken, dtype=np.float64), (0.1, 0.5, 0.9))
        avoided = float(sum(one.avoided for one in ones))
        found.append(
            Tokens(day, float(sum(taken)), avoided, float(low), float(middle), float(high))
        )
    return found


def satisfaction(feedback: Iterable[Feedback]) -> list[tuple[date, float, int]]:
    """Return for every day the mean of what was said on it, and how many said it."""
    given: dict[date, list[float]] = defaultdict(list)
    for one in feedback:
        if one.kind in SATISFACTION:
            given[_day(one)].append(one.value)
    return [(day, sum(some) / len(some), len(some)) for day, some in sorted(given.items())]


def risk(outcomes: Iterable[Outcome], delta: float = 0.05) -> list[Risk]:
    """Return what stops lose, at the end of every day.

    A stop is audited with a known probability, ``audit_share``, so its loss counts for that of 1 /
    ``audit_share`` stops; a request that was not stopped, or not audited, counts as 0. Only
    requests in active mode whose stops could be audited say anything of it. Of audits that failed
    and those that were not graded see :class:`Losses`; of the bounds
    :class:`~stopping_core.monitoring.ConfidenceSequence`, with what voids them.

    Args:
        outcomes: In the order of time.
        delta: 1 - confidence, in (0, 1).
    """
    told = [one for one in outcomes if _auditable(one) and not _is_ungraded(one)]
    if not told:
        return []
    sequence = ConfidenceSequence(delta, most_weight=max(1 / one.audit_share for one in told))
    found, audited = [], 0
    for day, ones in _by_day(told).items():
        for one in ones:
            loss = _loss(one)
            if loss is None:
                sequence.update(0.0)
            else:
                audited += 1
                sequence.update(loss, 1 / one.audit_share)
        lower, upper = sequence.lower, sequence.upper
        found.append(Risk(day, sequence.n, audited, sequence.mean, lower, upper))
    return found


def losses(outcomes: Iterable[Outcome]) -> Losses:
    """Return the estimate of :func:`risk` without its bounds, and what it rests on."""
    could = [one for one in outcomes if _auditable(one)]
    known = [(one, loss) for one in could if (loss := _loss(one)) is not None]
    ungraded = sum(map(_is_ungraded, could))
    return Losses(
        mean=_share(sum(loss / one.audit_share for one, loss in known), len(could) - ungraded),
        audited=len(known),
        failed=sum(one.loss is None for one, _ in known),
        ungraded=ungraded,
    )


def reasons(outcomes: Iterable[Outcome]) -> list[tuple[str, int]]:
    """Return why requests were stopped, the most frequent first; ``""`` for those that were not."""
    counted = Counter(one.reason for one in outcomes)
    return sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))


def by_segment(
    outcomes: Iterable[Outcome], feedback: Iterable[Feedback], key: Callable[[Outcome], str]
) -> dict[str, tuple[Numbers, Losses]]:
    """Return the figures of every segment and its :func:`losses`, the largest segment first."""
    parts: dict[str, list[Outcome]] = defaultdict(list)
    for one in outcomes:
        parts[key(one)].append(one)
    named = {one.request_id: name for name, ones in parts.items() for one in ones}
    said: dict[str, list[Feedback]] = defaultdict(list)
    for note in feedback:
        if note.request_id in named:
            said[named[note.request_id]].append(note)
    order = sorted(parts, key=lambda name: (-len(parts[name]), name))
    return {name: (numbers(parts[name], said[name]), losses(parts[name])) for name in order}


def chosen(
    outcomes: Iterable[Outcome],
    *,
    tenant: str | None = None,
    use_case: str | None = None,
    model: str | None = None,
    arm: str | None = None,
    reason: str | None = None,
    id_part: str = "",
) -> list[Outcome]:
    """Return the outcomes that pass every filter; None lets all pass, ``""`` what is not known.

    Args:
        outcomes: To choose from.
        tenant: For which customer.
        use_case: For what.
        model: Of which model.
        arm: How it was treated.
        reason: Why it was stopped; ``""`` where it was not.
        id_part: What the request's id has in it.
    """
    wanted = {"tenant": tenant, "use_case": use_case, "model": model, "arm": arm, "reason": reason}
    asked = {name: value for name, value in wanted.items() if value is not None}
    return [
        one
        for one in outcomes
        if id_part in one.request_id
        and all(getattr(one, name) == value for name, value in asked.items())
    ]


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return a quantile, between two values by the distance from each; None of nothing.

    Examples:
        >>> quantile([4.0, 1.0, 2.0], 0.75), quantile([], 0.5)
        (3.0, None)
    """
    return float(np.quantile(np.asarray(values, dtype=np.float64), share)) if values else None


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _auditable(one: Outcome) -> bool:
    return one.mode == "active" and one.audit_share >= _LEAST_SHARE


def _loss(one: Outcome) -> float | None:
    """What an audited stop lost; None where it was not audited, or not graded."""
    if one.arm != "audit":
        return None
    return 1.0 if one.loss is None and one.audit_failed else one.loss


def _is_ungraded(one: Outcome) -> bool:
    return one.arm == "audit" and _loss(one) is None


def _day(one: Outcome | Feedback) -> date:
    return one.time.astimezone(UTC).date()


def _by_day(outcomes: Iterable[Outcome]) -> dict[date, list[Outcome]]:
    """Part outcomes by their day, in order."""
    days: dict[date, list[Outcome]] = defaultdict(list)
    for one in outcomes:
        days[_day(one)].append(one)
    return dict(sorted(days.items()))
