"""One request over several calls: budget, engine, verdict, ledger. The driver makes the calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from stopping_core.budgets import cap
from stopping_core.channels import ChannelSplitter
from stopping_core.engine import Engine
from stopping_core.errors import BudgetExhausted
from stopping_core.ledger import Ledger
from stopping_core.signals import find_loop
from stopping_core.stitch import Stitcher
from stopping_core.stopping import AdaptiveStopping
from stopping_core.triage import triage
from stopping_core.types import (
    CONTINUE,
    Attempt,
    Call,
    CallKind,
    Checkpoint,
    Completion,
    Decision,
    Draft,
    Request,
    Step,
    Usage,
    Verdict,
)

_GO_ON = (
    "Your last message broke off. Go on exactly where it stopped, with the very next word. Repeat "
    "nothing of it and add no remark."
)
_ANSWER_NOW = "Stop thinking here and give only the final answer."


class Emission(NamedTuple):
    """What a step gives the user: settled answer text, reasoning, and whether to hang up now."""

    text: str = ""
    reasoning: str = ""
    stop: bool = False


class Session:
    """Runs one request: says which call to make, takes its steps, judges what came of it.

    A driver asks for :meth:`next_call`, feeds the steps of that call to :meth:`feed` until an
    emission says stop or the stream ends, then calls :meth:`end` (or :meth:`fail`, where the
    transport did), and begins again until :attr:`done`. All times are readings of one clock.

    Args:
        stopping: What to do.
        request: What is known about the request.
        streaming: Whether emitted text is shown to a user at once. It is then never taken back:
            an incomplete answer is only ever continued.
        prefill: Whether the model continues a prefix as its own text. If not, it is asked to go on,
            and what it repeats of the prefix is removed.
    """

    def __init__(
        self,
        stopping: AdaptiveStopping,
        request: Request,
        *,
        streaming: bool = False,
        prefill: bool = True,
    ) -> None:
        self.stopping = stopping
        self.request = request
        self.ledger = Ledger()
        self.done = False
        self.error: Exception | None = None
        self.would_stop: Checkpoint | None = None
        self._streaming = streaming
        self._prefill = prefill
        self._active = stopping.mode == "active"
        self._start: float | None = None
        self._verdict = Verdict(complete=False, reason="nothing was generated")
        self._decision = CONTINUE
        self._finish_reason: str | None = None
        self._plan: CallKind | None = "first"
        self._call = Call("first", 0, None)
        self._grant: int | None = None
        self._shown = False
        self._fallback: Draft | None = None
        self._plain: list[str] = []
        self._thoughts: list[str] = []
        self._answer = self._engine()
        self._usage: Usage | None = None
        self._begin_call(0.0)

    # -- what the driver calls

    def next_call(self, now: float) -> Call:
        """Say which call to make next.

        Raises:
            BudgetExhausted: Not even the first call can be granted any tokens.
        """
        if self._start is None:
            self._start = now
            if not self._grant_more(failed=False):
                self._give_up()
                raise BudgetExhausted(
                    "no output tokens can be granted: the budget is empty, or the prompt fills "
                    "the context window",
                    self.completion,
                )
        if self._plan is None:
            raise RuntimeError("next_call was called on a session that is done")
        self._call = self._make_call(self._plan)
        self._begin_call(now)
        return self._call

    def feed(self, step: Step, now: float) -> Emission:
        """Take one step of the current call."""
        self._tokens += step.tokens
        self._finish_reason = step.finish_reason or self._finish_reason
        self._usage = step.usage or self._usage
        if self.stopping.mode == "off":
            return self._pass(step)
        seconds = self._elapsed(now)
        if not self._active:
            for part in self._splitter.feed(step):
                self._watch(part, seconds)
            return self._pass(step)
        return self._take(self._splitter.feed(step), seconds)

    def end(self, now: float) -> Emission:
        """Take the end of the current call, the model's or ours; judge the draft, plan the next."""
        seconds = self._elapsed(now)
        emission = self._drain(seconds)
        draft = self._draft()
        self._verdict = self._judge(draft)
        self._record(now, draft)
        if self._verdict.complete or not self._active:
            self.done = True
        else:
            self._plan_after(draft)
        return self._tail(emission)

    def fail(self, error: Exception, now: float) -> Emission:
        """Take a transport error in the current call: keep what came, plan to finish it."""
        emission = self._drain(self._elapsed(now))
        self.error = error
        self._finish_reason = None
        draft = self._draft()
        self._verdict = Verdict(complete=False, reason=f"the transport failed: {error!r}")
        self._record(now, draft, error=f"{type(error).__name__}: {error}")
        if self._active or not self._plain:
            self._plan_after(draft, failed=True)
        else:
            self._give_up()
        return self._tail(emission)

    @property
    def exhausted(self) -> bool:
        """Whether attempts, tokens or seconds have run out, or nothing more can help."""
        limit, seconds = self.stopping.max_total_tokens, self.stopping.max_seconds
        return (
            self._plan is None
            or len(self.ledger) >= self.stopping.attempts
            or (limit is not None and self.ledger.generated >= limit)
            or (seconds is not None and self.ledger.seconds >= seconds)
        )

    @property
    def completion(self) -> Completion:
        """What has come of the request so far."""
        draft = self._draft()
        return Completion(
            text=draft.text,
            reasoning=draft.reasoning,
            complete=self._verdict.complete,
            verdict=self._verdict,
            finish_reason=draft.finish_reason,
            reason=draft.decision.reason,
            usage=self.ledger.usage(),
            attempts=tuple(self.ledger.attempts),
            seconds=self.ledger.seconds,
            mode=self.stopping.mode,
            would_stop=self.would_stop,
        )

    # -- the stream of one call

    def _begin_call(self, now: float) -> None:
        self._call_start = now
        self._tokens = 0
        self._thought_tokens = 0
        self._finish_reason = None
        self._usage = None
        self._decision = CONTINUE
        self._splitter: ChannelSplitter = ChannelSplitter(self.stopping.reasoning_tags)
        self._reasoner = Engine(
            self.stopping.reasoning, self.request, every=self.stopping.checkpoint_every
        )
        prefix = self._call.prefix if not self._prefill else ""
        self._stitcher = Stitcher(prefix) if prefix else None

    def _pass(self, step: Step) -> Emission:
        """Hand the step on as it is, for the modes that leave the text alone."""
        if step.channel == "reasoning":
            self._thoughts.append(step.text)
            self._thought_tokens += step.tokens
            return Emission(reasoning=step.text)
        self._plain.append(step.text)
        return Emission(text=step.text)

    def _watch(self, step: Step, seconds: float) -> None:
        """Let the policy decide without effect."""
        if step.channel == "answer" and self.would_stop is None:
            self._answer.feed(step, seconds)
            self.would_stop = self._answer.checkpoint

    def _take(self, steps: Iterator[Step], seconds: float) -> Emission:
        text: list[str] = []
        thoughts: list[str] = []
        for step in steps:
            if step.channel == "reasoning":
                engine = self._reasoner
                self._thought_tokens += step.tokens
                thoughts.append(engine.feed(step, seconds))
            else:
                engine = self._answer
                text.append(engine.feed(self._stitch(step), seconds))
            if engine.decision.stop:
                self._decision = engine.decision
                break
        limit = self.stopping.max_seconds
        if not self._decision.stop and limit is not None and seconds >= limit:
            self._decision = Decision(True, "deadline", forced=True)
        self._thoughts += thoughts
        emission = Emission("".join(text), "".join(thoughts), self._decision.stop)
        self._shown = self._shown or (self._streaming and bool(emission.text))
        return emission

    def _stitch(self, step: Step) -> Step:
        """Take away what the model repeats of the prefix."""
        if self._stitcher is None:
            return step
        return replace(step, text=self._stitcher.feed(step.text))

    def _drain(self, seconds: float) -> Emission:
        """Take what the splitter and the stitcher held back when the call ends."""
        if not self._active or self._decision.stop:
            return Emission()
        emission = self._take(self._splitter.flush(), seconds)
        if self._stitcher is not None and (rest := self._stitcher.finish()):
            self._stitcher = None
            more = self._take(iter([Step(rest, tokens=0)]), seconds)
            emission = emission._replace(text=emission.text + more.text)
        return emission

    def _tail(self, emission: Emission) -> Emission:
        """Add the whitespace that the engine still holds, once nothing more can follow it."""
        if self.done and self._active:
            return emission._replace(text=emission.text + self._answer.held)
        return emission

    def _confirm(self, decision: Decision) -> bool:
        """Whether a cut here leaves a complete answer, as far as can be told without waiting."""
        check = self.stopping.completeness
        if not self._active or getattr(check, "slow", False):
            return True
        draft = Draft(self._answer.text, "".join(self._thoughts), "cut", decision)
        return check(self.request, draft).complete

    # -- judging and planning

    def _draft(self) -> Draft:
        thoughts = "".join(self._thoughts)
        if not self._active:
            return Draft("".join(self._plain), thoughts, self._finish_reason)
        reason = "cut" if self._decision.stop else self._finish_reason
        text = self._answer.text + self._answer.held
        if self.done and not text and self._fallback is not None:
            return self._fallback
        return Draft(text, thoughts, reason, self._decision)

    def _judge(self, draft: Draft) -> Verdict:
        if self.stopping.mode == "off":
            return Verdict(complete=True, reason="not checked: the mode is off")
        if draft.decision.forced and draft.decision.reason == "loop":
            return Verdict(complete=False, reason="the text runs in a loop")
        return self.stopping.completeness(self.request, draft)

    def _record(self, now: float, draft: Draft, error: str = "") -> None:
        billed = self._usage
        generated = billed.generated if billed is not None else self._tokens
        prompt = billed.prompt if billed is not None else None
        if prompt is not None and self._call.kind == "first":
            # What the prompt takes of the context window is known from here on.
            self.request = replace(self.request, prompt_tokens=prompt)
        if prompt is None and self.request.prompt_tokens is not None:
            prompt = self.request.prompt_tokens + (self.ledger.kept if self._call.prefill else 0)
        self.ledger.estimated = billed is None or (self.ledger.estimated and len(self.ledger) > 0)
        left = 0
        if draft.finish_reason == "cut" and self._grant is not None:
            left = max(0, self._grant - self.ledger.kept - generated)
        self.ledger.attempts.append(
            Attempt(
                kind=self._call.kind,
                budget=self._grant,
                generated=generated,
                reasoning=self._thought_tokens,
                prompt_tokens=prompt,
                seconds=now - self._call_start,
                finish_reason=draft.finish_reason,
                reason=draft.decision.reason,
                verdict=self._verdict,
                avoided=left,
                error=error,
            )
        )
        self.ledger.seconds = self._elapsed(now)

    def _plan_after(self, draft: Draft, *, failed: bool = False) -> None:
        """Choose the next call and its budget, and set the answer back to what is kept."""
        kind = triage(draft, shown=self._shown)
        final = draft.decision.forced and draft.decision.reason != "loop"
        if kind is None or final or self.exhausted or not self._grant_more(failed=failed):
            return self._give_up()
        kept = len(draft.text)
        if kind == "reseed":
            kept = find_loop(draft.text) or 0
        elif kind in ("restart", "close_reasoning"):
            kept = 0
        if kept < len(draft.text):
            self._fallback = draft
        self._discard(kind, kept / max(1, len(draft.text)))
        if self._decision.stop or kept < len(draft.text):
            self._answer = self._engine(draft.text[:kept])
        if kind == "restart":
            self._thoughts = []
        self._plan = kind

    def _grant_more(self, *, failed: bool) -> bool:
        """Grant the next call its tokens. After a broken connection: what was left."""
        if not self._active or (failed and self.ledger.granted > self.ledger.kept):
            return True
        grant = cap(self.stopping.budget(self.request, self.ledger), self.request, self.ledger)
        self._grant = grant if grant is not None else self._grant
        return grant is not None

    def _discard(self, kind: CallKind, share: float) -> None:
        """Book the answer tokens whose text is dropped; on a restart all that still stand."""
        for i, attempt in enumerate(self.ledger.attempts):
            standing = attempt.generated - attempt.discarded
            if kind != "restart":
                standing = round((standing - attempt.reasoning) * (1 - share))
            if standing > 0:
                self.ledger.attempts[i] = replace(attempt, discarded=attempt.discarded + standing)

    def _give_up(self) -> None:
        self._plan = None
        self.done = True

    def _make_call(self, kind: CallKind) -> Call:
        prefix = self._answer.text + self._answer.held if kind != "first" else ""
        thoughts = "".join(self._thoughts) if kind != "first" else ""
        opening, closing = self.stopping.reasoning_tags
        prefill = f"{opening}{thoughts}{closing}\n\n{prefix}" if thoughts.strip() else prefix
        tokens = None
        if self._grant is not None:
            tokens = max(1, self._grant - self.ledger.kept)
            if (limit := self.stopping.max_total_tokens) is not None:
                tokens = max(1, min(tokens, limit - self.ledger.generated))
        return Call(
            kind=kind,
            attempt=len(self.ledger) + 1,
            max_tokens=tokens,
            prefix=prefix,
            prefill=prefill,
            turn=(_ANSWER_NOW if kind == "close_reasoning" else _GO_ON) if prefill else "",
            resample=kind == "reseed" or (kind == "restart" and not self.ledger.attempts[-1].error),
        )

    def _engine(self, text: str = "") -> Engine:
        engine = Engine(
            self.stopping.policy,
            self.request,
            every=self.stopping.checkpoint_every,
            confirm=self._confirm,
        )
        if text:
            kept = sum(a.generated - a.discarded - a.reasoning for a in self.ledger.attempts)
            engine.preload(text, tokens=max(0, kept))
        return engine

    def _elapsed(self, now: float) -> float:
        return now - self._start if self._start is not None else 0.0
