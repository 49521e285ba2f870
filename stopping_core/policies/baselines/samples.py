"""Rules over samples: draw another run of the same question, or vote on those that came."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from stopping_core.final_answers import last_answer
from stopping_core.metrics import first_sentence
from stopping_core.policies.baselines.baseline import Tier
from stopping_core.policies.baselines.group_confidence import Floats, token_confidences
from stopping_core.policies.baselines.probed_answers import Key, answer_key
from stopping_core.types import Need, Usage

if TYPE_CHECKING:
    from stopping_core.policies.policy import Policy
    from stopping_core.traces.run import Run


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One sampled run of a question, as far as a vote needs it.

    Args:
        answer: What it answers, as votes compare it; ``""`` where it gives no answer.
        tokens: Output tokens to its end.
        prompt_tokens: Input tokens.
        confidences: Of each token minus the mean logprob of the most likely ones, nats: high where
            one stands out. NaN where a token has none; None where they were not recorded.  # (n,)
        score: What a scorer says of it, higher is better; None where none was asked.
    """

    answer: Key
    tokens: int
    prompt_tokens: int = 0
    confidences: Floats | None = None
    score: float | None = None

    @property
    def worth(self) -> float | None:
        """Its score; None where there is none, or none that is finite."""
        return None if self.score is None or not math.isfinite(self.score) else self.score

    @classmethod
    def of(cls, run: Run, tags: tuple[str, str] | None = None) -> Self:
        """Read a sample off a recorded run.

        Args:
            run: The run.
            tags: Tags of its reasoning; only what comes after the closing one is an answer.
        """
        text = run.text if tags is None else behind_reasoning(run.text, tags)
        confidences = None
        if run.top_logprobs is not None:
            confidences = token_confidences(run.top_logprobs)
        return cls(vote_key(text), len(run), run.prompt_tokens or 0, confidences)


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a rule made of the samples of one question.

    Args:
        answer: The answer that won the vote; ``""`` where no sample gave one.
        winner: Place of the sample whose text may stand for it; None where there is none.
        samples: Samples drawn.
        short: True where the rule wanted more samples than there were.
        usage: What they cost. Each request after the first reads the prompt again; samples that
            are drawn in one request share it.
    """

    answer: Key
    winner: int | None
    samples: int
    short: bool
    usage: Usage


class SampleRule(ABC):
    """Is told sample after sample, says whether to draw another, and votes on them.

    A rule keeps what it was told; :func:`draw` works on a copy. Samples without an answer cost
    their tokens and do not vote. Where answers tie, the one that came first wins.

    Attributes:
        taken: The samples so far.
        most: How many it may draw.
        scored: Whether it goes by what a scorer says of each sample.
        ending: Whether it may end samples of a live model itself, by :meth:`ends`.
    """

    tier: ClassVar[Tier] = "samples"
    scored: ClassVar[bool] = False
    ending: ClassVar[bool] = False
    most: int

    def __init__(self) -> None:
        self.taken: list[Sample] = []

    @abstractmethod
    def more(self) -> bool:
        """Say whether to draw another sample."""

    def batch(self) -> int:
        """Return how many samples the next request draws, >= 1: as many as it surely wants."""
        return 1

    def complete(self) -> Sequence[bool]:
        """Say of each sample taken whether it came to its own end."""
        return [True] * len(self.taken)

    def take(self, sample: Sample) -> int:
        """Take the next sample; return the output tokens that were generated of it."""
        self.taken.append(sample)
        return sample.tokens

    def vote(self) -> Key:
        """Return the answer that has most weight; ``""`` where there is none."""
        totals = tally((sample.answer, 1.0) for sample in self.taken)
        return max(totals, key=totals.__getitem__, default="")

    def winner(self) -> int | None:
        """Return the place of the sample whose text stands for the answer; None for no answer.

        It is the first complete one that gave it.
        """
        answer = self.vote()
        if answer == "":
            return None
        whole = enumerate(zip(self.taken, self.complete(), strict=True))
        gave = (place for place, (one, ended) in whole if ended and one.answer == answer)
        return next(gave, None)

    def ends(self) -> Policy | None:
        """Return what ends the next sample of a live model early; None where nothing does.

        Its stops are forced. A sample that it ends does not vote: :meth:`take` knows.
        """
        return None

    def needs(self) -> frozenset[Need]:
        """Return what it needs beyond the text."""
        return frozenset({"samples"})


def confidences_of(sample: Sample, rule: SampleRule) -> Floats:
    """Return the confidences of a sample's tokens, nats.  # (n,).

    Raises:
        ValueError: They are not known; it names the rule that wants them.
    """
    if sample.confidences is None:
        raise ValueError(f"confidences must be known for {rule!r}: samples need top_logprobs")
    return sample.confidences


def draw(rule: SampleRule, samples: Sequence[Sample]) -> Drawn:
    """Let a rule draw from recorded samples, in their order, until it has enough."""
    rule = copy.deepcopy(rule)
    generated: list[int] = []
    requests, asked = 0, 0
    while rule.more() and len(generated) < len(samples):
        if asked == len(generated):
            asked += rule.batch()
            requests += 1
        generated.append(rule.take(samples[len(generated)]))
    drawn = len(generated)
    prompt = samples[0].prompt_tokens if drawn else 0
    return Drawn(
        rule.vote(),
        rule.winner(),
        drawn,
        rule.more(),
        Usage(
            prompt=prompt,
            generated=sum(generated),
            reread=max(0, requests - 1) * prompt,
            retried=sum(generated[1:]),
            estimated=False,
        ),
    )


def tally(votes: Iterable[tuple[Key, float]]) -> dict[Key, float]:
    """Add up the weights of each answer, in the order in which the answers came."""
    totals: dict[Key, float] = {}
    for answer, weight in votes:
        if answer != "":
            totals[answer] = totals.get(answer, 0.0) + weight
    return totals


def behind_reasoning(text: str, tags: tuple[str, str]) -> str:
    """What stands behind the reasoning that a text begins with; ``""`` where that never ends.

    Args:
        text: An answer.
        tags: Around the reasoning.

    Examples:
        >>> tags = ("<think>", "</think>")
        >>> behind_reasoning("<think>Hm.</think>4", tags), behind_reasoning("4", tags)
        ('4', '4')
    """
    return text.partition(tags[1])[2] if text.lstrip().startswith(tags[0]) else text


def vote_key(text: str) -> Key:
    r"""What votes compare of an answer text.

    The answer that it states last (``The answer is 42.``, ``\boxed{42}``, ``#### 42``), else its
    first sentence; numbers as numbers, all else as words. ``""`` where there is none.

    Examples:
        >>> vote_key("5 + 5 is 10.\nThe answer is 10. So ten.") == vote_key("10.0")
        True
    """
    stated = last_answer(text.rstrip())
    if stated is None:
        return answer_key(text)
    alone = first_sentence(f"The answer is {stated}")  # without what else stands on its line
    return answer_key(last_answer(alone) or stated)
