"""What a stopping rule would have made of a recorded run, by the engine that production uses."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from stopping_core.completeness import fast_part
from stopping_core.engine import Engine
from stopping_core.policies import Policy
from stopping_core.protocols import CompletenessCheck
from stopping_core.results import Draft
from stopping_core.traces.evidence import check_evidence, no_probe
from stopping_core.traces.run import Run
from stopping_core.traces.stream import (
    TAGS,
    Tags,
    answer_of,
    closing_tokens,
    probe_place,
    stream,
    thinking_tokens,
)
from stopping_core.types import Channel, Checkpoint, Decision, Probe, Usage


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rule left of a run, and what it cost.

    Args:
        text: The answer: the text up to the stop, the answer that a probe gave where the thinking
            was ended, or the answer of the full run.
        reason: Why the rule stopped it, or ``""``.
        forced: Whether the stop was forced.
        checkpoint: Where it stopped, on its channel; None where it did not.
        tokens: Raw tokens that had come when the stop took effect; all of them where it did not.
        probes: How many probes the rule bought.
        usage: The bill. ``generated`` is ``tokens``, and of thinking that was ended the words that
            closed it, and the answer.
    """

    text: str
    reason: str
    forced: bool
    checkpoint: Checkpoint | None
    tokens: int
    probes: int
    usage: Usage

    @property
    def stopped(self) -> bool:
        """Whether the rule stopped the run."""
        return self.checkpoint is not None


def replay(
    run: Run,
    policy: Policy,
    *,
    channel: Channel = "answer",
    tags: Tags = TAGS,
    every: int = 16,
    check: CompletenessCheck | None = None,
) -> Outcome:
    """Play a run to a policy, and say where it stops and what was paid by then.

    On the channel ``"answer"`` the text is cut at the stop. On ``"reasoning"`` the stop ends the
    thinking, and the answer is the one that the probe recorded at that place gave: its tokens are
    generated and what it read again is paid, unless the policy had bought this very probe. The
    words that close the thinking and lead to the answer are booked as generated in any case: a full
    run writes them, and some servers bill what they put in as output. As the probe's request holds
    them too, the bill is rather too high. From the closing tag on the thinking is over, and the
    policy is not asked any more.

    A sentence end shows only with the token after it, which is booked. The part of a loop that a
    policy says to drop is kept: what a model makes of the rest cannot be known from a recording.

    Args:
        run: The recorded run.
        policy: The rule.
        channel: The channel that it acts on.
        tags: Tags that mark reasoning in the text; None where it has none.
        every: Tokens between two checkpoints inside a sentence, >= 1.
        check: Asked before a stop that is not forced, as a session does; on the channel
            ``"answer"`` only. Of a slow check, what is fast of it.

    Raises:
        MissingEvidence: The run does not hold what the policy needs, or no probe at a place where
            it asks for one or where it ends the thinking.
        ValueError: A setting is out of its interval.
    """
    confirming = before_cut(check, channel)
    check_evidence(policy, (run,))
    return _Replay(run, policy, channel, tags, every, confirming).outcome()


def before_cut(check: CompletenessCheck | None, channel: Channel) -> CompletenessCheck | None:
    """The check that a session asks before a cut: of a slow one what is fast of it, or nothing.

    Raises:
        ValueError: A check on the channel ``"reasoning"``, where no session asks one.
    """
    if channel == "reasoning" and check is not None:
        raise ValueError(f"check must be None on the channel 'reasoning', got {check!r}")
    return fast_part(check)


class _Replay:
    """One run under one policy."""

    def __init__(
        self,
        run: Run,
        policy: Policy,
        channel: Channel,
        tags: Tags,
        every: int,
        check: CompletenessCheck | None,
    ) -> None:
        self._run, self._policy, self._channel, self._tags = run, policy, channel, tags
        self._request = run.request()
        self._check = check
        confirm: Callable[[Decision], bool] | None = None if check is None else self._confirm
        self._engine = Engine(
            policy, self._request, every=every, confirm=confirm, prober=self._probe
        )
        self._fed = 0
        self._other = 0  # tokens of the other channel
        self._thoughts: list[str] = []
        self._bought: list[int] = []

    def outcome(self) -> Outcome:
        run, engine = self._run, self._engine
        seconds = None if run.seconds is None else run.seconds.tolist()
        over = thinking_tokens(run, self._tags) if self._channel == "reasoning" else math.inf
        for fed, step in stream(run, self._tags):
            if fed >= over:
                break
            if step.channel == "reasoning":
                self._thoughts.append(step.text)
            if step.channel != self._channel:
                self._other += step.tokens
                continue
            self._fed = fed
            engine.feed(step, math.nan if seconds is None else seconds[fed - 1])
            if engine.checkpoint is not None:
                return self._stopped(engine.checkpoint)
        return self._outcome(answer_of(run, self._tags), None, len(run), 0, 0)

    def _stopped(self, checkpoint: Checkpoint) -> Outcome:
        if self._channel == "answer":
            return self._outcome(self._engine.text, checkpoint, self._fed, 0, 0)
        place = self._place(checkpoint)
        probe, closing = self._run.probes[place], closing_tokens(self._run, place)
        if place in self._bought:
            return self._outcome(probe.text, checkpoint, self._fed, closing, 0)
        answered = closing + probe.tokens
        return self._outcome(probe.text, checkpoint, self._fed, answered, probe.reread)

    def _outcome(
        self, text: str, checkpoint: Checkpoint | None, tokens: int, answered: int, reread: int
    ) -> Outcome:
        run, decision = self._run, self._engine.decision
        probes = [run.probes[place] for place in self._bought]
        usage = Usage(
            prompt=run.prompt_tokens or 0,
            generated=tokens + answered,
            reread=reread + sum(probe.reread for probe in probes),
            probed=sum(probe.tokens for probe in probes),
            estimated=run.prompt_tokens is None,
        )
        return Outcome(
            text, decision.reason, decision.forced, checkpoint, tokens, len(probes), usage
        )

    def _confirm(self, decision: Decision) -> bool:
        draft = Draft(self._engine.text, "".join(self._thoughts), "cut", decision)
        return self._check is None or self._check(self._request, draft).complete

    def _probe(self, checkpoint: Checkpoint) -> Probe:
        place = self._place(checkpoint)
        self._bought.append(place)
        return self._run.probes[place]

    def _place(self, checkpoint: Checkpoint) -> int:
        before = min(self._fed, checkpoint.tokens + self._other)
        place = probe_place(self._run, before, self._fed, checkpoint.boundary)
        if place is None:
            raise no_probe(self._policy, self._run, before)
        return place
