"""Rules that draw several samples of a question, against the vote over all that were recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stopping_core.cli.bench.candidates import Candidate
from stopping_core.cli.bench.scores import NAMES, Floats, GradeBook, Grades, Mask, Scores, add_up
from stopping_core.cli.bench.sweeping import ended
from stopping_core.cli.bench.table import Swept
from stopping_core.policies.baselines import Drawn, Sample, SampleRule, VoteOfN, draw
from stopping_core.traces.evidence import MissingEvidence
from stopping_core.traces.run import Run, Trace
from stopping_core.traces.stream import answer_of


@dataclass(frozen=True, slots=True, eq=False)
class Ballot:
    """The samples of every question of a file.

    Args:
        firsts: The first run of each question, which stands for it.
        samples: Of each question, in the order in which they were drawn.
        answers: Their texts, without reasoning.
        book: Grades texts against the question's gold.
        recorded: Samples a question; of the question with the fewest.
        ended: Whether all samples of each question came to their own end.  # (questions,)
    """

    firsts: tuple[Run, ...]
    samples: tuple[tuple[Sample, ...], ...]
    answers: tuple[tuple[str, ...], ...]
    book: GradeBook
    recorded: int
    ended: Mask

    @classmethod
    def of(cls, trace: Trace) -> Ballot:
        """Gather the runs of a trace by question."""
        by_question: dict[str, list[Run]] = {}
        for run in trace.runs:
            by_question.setdefault(run.question_id, []).append(run)
        gathered = [sorted(runs, key=lambda run: run.sample) for runs in by_question.values()]
        tags = trace.header.reasoning_tags
        firsts = tuple(runs[0] for runs in gathered)
        return cls(
            firsts,
            tuple(tuple(Sample.of(run, tags) for run in runs) for runs in gathered),
            tuple(tuple(answer_of(run, tags) for run in runs) for runs in gathered),
            GradeBook(firsts),
            min(map(len, gathered)),
            np.array([all(map(ended, runs)) for runs in gathered]),
        )

    @property
    def tokens(self) -> Floats:
        """Output tokens of all samples that every question has.  # (questions,)."""
        kept = (samples[: self.recorded] for samples in self.samples)
        return np.array([sum(one.tokens for one in some) for some in kept], dtype=np.float64)

    def full(self) -> Scores:
        """Vote over all samples that every question has: the rules are measured against it.

        They are drawn in one request, which reads the prompt once.
        """
        return self.scores(self.drawn(VoteOfN(self.recorded)))

    def drawn(self, rule: SampleRule) -> list[Drawn]:
        """Let a rule draw, question by question."""
        return [draw(rule, samples[: self.recorded]) for samples in self.samples]

    def scores(self, drawn: Sequence[Drawn]) -> Scores:
        """Grade the text of the first sample that gave the winning answer."""
        grades: list[Grades] = []
        for number, one in enumerate(drawn):
            text = "" if one.winner is None else self.answers[number][one.winner]
            grades.append(self.book.grade(number, text))
        usages = [one.usage for one in drawn]
        unknown = np.array([run.prompt_tokens is None for run in self.firsts])
        prompt = np.array([usage.prompt for usage in usages], dtype=np.float64)
        return Scores(
            prompt=np.where(unknown, np.nan, prompt),
            generated=np.array([usage.generated for usage in usages], dtype=np.float64),
            probed=np.zeros(len(usages)),
            reread=np.array([usage.reread for usage in usages], dtype=np.float64),
            stopped=np.array([one.usage.generated for one in drawn]) < self.tokens,
            grades={name: np.array([getattr(one, name) for one in grades]) for name in NAMES},
        )


def sweep_votes(candidate: Candidate, ballot: Ballot, full: Scores, choose: Mask) -> Swept:
    """Try every setting of a rule that draws samples."""
    rules: tuple[SampleRule, ...] = candidate.settings
    bare = any(run.top_logprobs is None for run in ballot.firsts)
    if bare and "top_logprobs" in rules[0].needs():
        missing = MissingEvidence(repr(rules[0]), "top_logprobs", "the trace")
        return Swept(candidate.policy, candidate.tier, (), (), (), missing=str(missing))
    drawn = [ballot.drawn(rule) for rule in rules]
    scores = tuple(map(ballot.scores, drawn))
    short = max(sum(one.short for one in each) for each in drawn)
    note = (
        f"at some settings it wanted more than the {ballot.recorded} samples recorded, "
        f"for up to {short} of {len(ballot.firsts)} questions"
    )
    return Swept(
        candidate.policy,
        candidate.tier,
        candidate.labels,
        scores,
        tuple(add_up(one, full, choose) for one in scores),
        0,
        note=note if short else "",
    )
