"""Dynasor, by its Certaindex: stop when the answers probed last agree."""

from __future__ import annotations

from typing import ClassVar, Self

from stopping_core.policies.baselines.probed_answers import Streak, hesitates
from stopping_core.policies.baselines.probing import Judging
from stopping_core.types import Probe


class Dynasor(Judging):
    """Stops when the last ``window`` answers, one every ``chunk`` tokens, agree without hesitation.

    A model that is done gives the same answer whenever it is asked. One that is wrong and sure of
    it does so too.

    Rule: every ``chunk`` tokens ask for the final answer, at most 20 tokens of it; stop when the
    last ``window`` answers are equal, not empty, and none shows a hesitation word (wait, hold, but,
    okay, no, hmm). Published as (window, chunk): mild (8, 64), low (5, 64), mid (3, 64), high
    (2, 64), crazy (2, 32). Default: mid. Needs probes; how long they are, whoever makes them says.

    From description: what is equal. Answers are compared after normalisation, numbers as numbers,
    and only the sentence that a probe begins with. Hesitation is looked for in the whole probe.
    Answers that are "no" themselves count as hesitation, in the original too.

    Not reproduced, as defects of the published server and not of the rule: it never checks that the
    answers are equal; its test for "no" is one for a part of a word, which "know" passes; its probe
    lags one chunk behind the text.

    Args:
        window: Answers that have to agree, >= 1.
        chunk: Tokens between two probes, >= 1.

    References:
        Fu et al. (2024), Efficiently Scaling LLM Reasoning with Certaindex, the part on chain of
        thought. arXiv:2412.20993.
    """

    title: ClassVar[str] = "Dynasor / Certaindex"
    reason = "dynasor"

    def __init__(self, window: int = 3, chunk: int = 64) -> None:
        if window < 1:
            raise ValueError(f"window must be >= 1, got {window}")
        if chunk < 1:
            raise ValueError(f"chunk must be >= 1, got {chunk}")
        super().__init__(chunk)
        self.window = window
        self._forget()

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return the published settings, then smaller chunks for outputs of 20 to 400 tokens."""
        published = [(3, 64), (8, 64), (5, 64), (2, 64), (2, 32)]
        smaller = [(w, chunk) for chunk in (8, 16, 32) for w in (2, 3, 4, 5, 8)]
        return tuple(cls(w, chunk) for w, chunk in dict.fromkeys(published + smaller))

    def _judge(self, probe: Probe) -> bool:
        # An empty answer breaks a streak, and so has one that hesitates to.
        return self._streak.add("" if hesitates(probe.text) else probe.text) >= self.window

    def _forget(self) -> None:
        self._streak = Streak()

    def __repr__(self) -> str:
        return f"Dynasor({self.window}, {self.at})"
