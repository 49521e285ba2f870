"""What became of every run of a file under one policy, and what that adds up to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stopping_core.costs import LOCAL, REGIMES, CostRegime
from stopping_core.final_answers import last_answer
from stopping_core.metrics import GRADERS, contains, exact_match, f1, first_sentence
from stopping_core.traces.run import Run

Floats: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Grades:
    """The grades of one answer, each in [0, 1].

    Args:
        right: By the grader that leads for the run.
        em: Exact match of the whole output; where the grader that leads is ``last_number``, of the
            final answer that it states last, if it states one, against that of the gold answer.
        f1: Token F1 of the same: that of a whole output rises when a rambling tail is cut.
        contains: Whether a gold answer stands in it: it can only fall when something is cut.
        first_f1: Token F1 of its first sentence.
    """

    right: float
    em: float
    f1: float
    contains: float
    first_f1: float


NAMES = tuple(field.name for field in fields(Grades))


class GradeBook:
    """Grades the answers that policies leave of some runs, each different one only once.

    Args:
        runs: The runs.
        grader: Name of the grader that leads, for all runs; each run's own by default.
    """

    def __init__(self, runs: Sequence[Run], grader: str | None = None) -> None:
        self.runs = runs
        self._states = [(grader or run.grader) == "last_number" for run in runs]
        self._leading = [GRADERS[grader or run.grader] for run in runs]
        self._known: dict[tuple[int, str, bool], Grades] = {}

    def grade(self, number: int, text: str, *, open_end: bool = False) -> Grades:
        """Grade an answer to the question of run ``number``; ``open_end``: cut inside a word."""
        key = (number, text, open_end)
        if key not in self._known:
            gold = self.runs[number].gold
            first = first_sentence(text)
            said, wanted, open_said = text, gold, open_end
            if self._states[number]:
                said, wanted = _stated(text), tuple(map(_stated, gold))
                open_said = open_end and text.endswith(said)
            self._known[key] = Grades(
                right=float(self._leading[number](text, gold, open_end=open_end) >= 1),
                em=float(exact_match(said, wanted, open_end=open_said)),
                f1=float(f1(said, wanted, open_end=open_said)),
                contains=float(contains(text, gold, open_end=open_end)),
                first_f1=float(f1(first, gold, open_end=open_end and text.endswith(first))),
            )
        return self._known[key]


def _stated(text: str) -> str:
    """The final answer that a text states, or all of it."""
    return last_answer(text.rstrip()) or text


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What was billed and graded, run by run.

    Args:
        prompt: Input tokens read for the first time; NaN where unknown.  # (n,)
        generated: Output tokens, probes left out.  # (n,)
        probed: Output tokens of probes.  # (n,)
        reread: Input tokens that were sent again.  # (n,)
        stopped: Whether the policy ended the run; of a mixture, how likely.  # (n,)
        grades: By the name of the grade, in [0, 1].  # (n,) each
    """

    prompt: Floats
    generated: Floats
    probed: Floats
    reread: Floats
    stopped: Mask | Floats
    grades: Mapping[str, Floats]

    @property
    def right(self) -> Mask:
        """Whether each answer is right.  # (n,)."""
        right: Mask = self.grades["right"] >= 1
        return right

    def bills(self, regime: CostRegime) -> Floats:
        """Price each run, in output tokens; NaN where the regime needs what is unknown."""
        out = regime.output * (self.generated + self.probed) + regime.cached * self.reread
        return out + regime.input * self.prompt if regime.input else out


def mix(parts: Sequence[tuple[Scores, float]]) -> Scores:
    """Expect what becomes of runs that are given to one of several settings by chance.

    Args:
        parts: What each setting does, and its share of the runs; the shares sum to 1.
    """

    def mean(values: Sequence[NDArray[Any]]) -> Floats:
        shares = np.array([share for _, share in parts])
        mixed: Floats = shares @ np.stack(values).astype(np.float64)
        return mixed

    scores = [one for one, _ in parts]
    return Scores(
        prompt=mean([one.prompt for one in scores]),
        generated=mean([one.generated for one in scores]),
        probed=mean([one.probed for one in scores]),
        reread=mean([one.reread for one in scores]),
        stopped=mean([one.stopped for one in scores]),
        grades={name: mean([one.grades[name] for one in scores]) for name in NAMES},
    )


@dataclass(frozen=True, slots=True)
class Point:
    """What a policy's runs add up to, in percent of the full runs' bill or of the runs.

    Args:
        n: How many runs.
        savings: By regime; None where the length of the prompts is not known.
        lost: Runs that are right in full and wrong when cut.
        gained: The reverse.
        stopped: Runs that the policy ended.
        grades: The mean of each grade.
    """

    n: int
    savings: Mapping[str, float | None]
    lost: float
    gained: float
    stopped: float
    grades: Mapping[str, float]

    @property
    def saving(self) -> float:
        """Of decoded tokens: the one by which settings are chosen."""
        return self.savings[LOCAL.name] or 0.0


def add_up(cut: Scores, full: Scores, where: Mask) -> Point:
    """Compare the runs at ``where`` with the same runs in full; there is at least one."""
    n = int(where.sum())
    savings = {
        name: _saving(cut.bills(regime)[where].sum(), full.bills(regime)[where].sum())
        for name, regime in REGIMES.items()
    }
    lost, gained = changes(cut, full, where)
    return Point(
        n=n,
        savings=savings,
        lost=100 * float(lost.sum()) / n,
        gained=100 * float(gained.sum()) / n,
        stopped=100 * float(cut.stopped[where].sum()) / n,
        grades={name: 100 * float(cut.grades[name][where].mean()) for name in NAMES},
    )


def changes(cut: Scores, full: Scores, where: Mask) -> tuple[Floats, Floats]:
    """Say of each run at ``where`` whether it was lost, and whether it was gained.

    Of a mixture, how likely.
    """
    before, after = full.grades["right"][where], cut.grades["right"][where]
    return before * (1 - after), (1 - before) * after


def saving_of(cut: Scores, full: Scores, where: Mask) -> float | None:
    """Say what is saved of the decoded tokens, percent; None where there is no run."""
    bills = (one.bills(LOCAL)[where].sum() for one in (cut, full))
    return _saving(*bills) if where.any() else None


def _saving(part: float, whole: float) -> float | None:
    if math.isnan(whole) or math.isnan(part):
        return None
    return float(100 * (1 - part / whole)) if whole > 0 else 0.0
