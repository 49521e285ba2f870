"""Rules that draw several samples of a question, against the vote over all that were recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from stopping_core.cli.bench.candidates import Candidate
from stopping_core.cli.bench.scores import NAMES, Floats, GradeBook, Grades, Mask, Scores, add_up
from stopping_core.cli.bench.sweeping import ended
from stopping_core.cli.bench.table import Swept
from stopping_core.policies.baselines import Drawn, Sample, SampleRule, VoteOfN, draw, vote_key
from stopping_core.traces.evidence import MissingEvidence
from stopping_core.traces.run import Run
from stopping_core.traces.stream import answer_of
from stopping_core.traces.sweep import Cuts


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
        numbers: Of the runs in the file.
        tokens: Output tokens of all whole samples that every question has.  # (questions,)
        reread: Input tokens that it took to end each sample, by the number of its run.  # (runs,)
    """

    firsts: tuple[Run, ...]
    samples: tuple[tuple[Sample, ...], ...]
    answers: tuple[tuple[str, ...], ...]
    book: GradeBook
    recorded: int
    ended: Mask
    numbers: tuple[tuple[int, ...], ...]
    tokens: Floats
    reread: Floats

    @classmethod
    def of(cls, runs: Sequence[Run], tags: tuple[str, str] | None) -> Ballot:
        """Gather runs by question.

        Args:
            runs: All of a file, or some.
            tags: Of their reasoning, or None.
        """
        by_question: dict[str, list[int]] = {}
        for number, run in enumerate(runs):
            by_question.setdefault(run.question_id, []).append(number)
        numbers = [sorted(some, key=lambda one: runs[one].sample) for some in by_question.values()]
        gathered = [[runs[number] for number in some] for some in numbers]
        firsts = tuple(some[0] for some in gathered)
        recorded = min(map(len, gathered))
        return cls(
            firsts,
            tuple(tuple(Sample.of(run, tags) for run in some) for some in gathered),
            tuple(tuple(answer_of(run, tags) for run in some) for some in gathered),
            GradeBook(firsts),
            recorded,
            np.array([all(map(ended, some)) for some in gathered]),
            tuple(map(tuple, numbers)),
            np.array([sum(map(len, some[:recorded])) for some in gathered], dtype=np.float64),
            np.zeros(len(runs)),
        )

    def cut(self, cuts: Cuts) -> Ballot:
        """The same samples, each ended where a policy stops it.

        Args:
            cuts: Of the runs that the ballot was made of.
        """

        def left(number: int, whole: Sample) -> Sample:
            if not cuts.stopped[number]:
                return replace(whole, tokens=whole.tokens + int(cuts.probed[number]))
            tokens = int(cuts.generated[number] + cuts.probed[number])
            return Sample(vote_key(cuts.text(number)), tokens, whole.prompt_tokens)

        samples = tuple(
            tuple(left(number, one) for number, one in zip(numbers, some, strict=True))
            for numbers, some in zip(self.numbers, self.samples, strict=True)
        )
        answers = tuple(tuple(map(cuts.text, numbers)) for numbers in self.numbers)
        reread = cuts.reread.astype(np.float64)
        return replace(self, samples=samples, answers=answers, reread=reread)

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
            reread=np.array([usage.reread for usage in usages], dtype=np.float64)
            + self._ending(drawn),
            stopped=np.array([one.usage.generated for one in drawn]) < self.tokens,
            grades={name: np.array([getattr(one, name) for one in grades]) for name in NAMES},
        )

    def _ending(self, drawn: Sequence[Drawn]) -> Floats:
        """Input tokens that it took to end samples.  # (questions,)."""
        taken = zip(self.numbers, drawn, strict=True)
        return np.array([self.reread[list(some[: one.samples])].sum() for some, one in taken])


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
