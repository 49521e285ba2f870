"""One request over several calls: budget, verdict, ledger, plan. The driver makes the calls."""

from __future__ import annotations

from dataclasses import replace

from stopping_core.answer import Answer, Emission
from stopping_core.budgets import cap
from stopping_core.completeness import broke_off, is_truncated
from stopping_core.errors import BudgetExhausted
from stopping_core.ledger import Ledger
from stopping_core.protocols import CompletenessCheck
from stopping_core.signals import find_loop
from stopping_core.stopping import AdaptiveStopping
from stopping_core.triage import triage
from stopping_core.types import (
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
        self._streaming = streaming
        self._prefill = prefill
        self._active = stopping.mode == "active"
        self._answer = Answer(stopping, request, self._confirm, prefill=prefill)
        self._start: float | None = None
        self._plan: CallKind = "first"
        self._call = Call("first", 0, None)
        self._grant: int | None = None
        self._verdict = Verdict(complete=False, reason="nothing was generated")
        self._finish_reason: str | None = None
        self._usage: Usage | None = None
        self._tokens = 0
        self._call_start = 0.0
        self._shown = False
        self._fallback: Draft | None = None

    # -- what the driver calls

    def next_call(self, now: float) -> Call:
        """Say which call to make next.

        Raises:
            BudgetExhausted: Not even the first call can be granted any tokens.
            RuntimeError: The session is done; every request has a session of its own.
        """
        if self.done:
            raise RuntimeError("next_call was called on a session that is done")
        if self._start is None:
            self._start = now
            if not self._grant_next():
                self.done = True
                raise BudgetExhausted(
                    "no output tokens can be granted: the budget is empty, or the prompt fills "
                    "the context window",
                    self.completion,
                )
        self._call = self._make_call(self._plan)
        self._call_start = now
        self._tokens = 0
        self._finish_reason = None
        self._usage = None
        self._answer.begin(self._call)
        return self._call

    def feed(self, step: Step, now: float) -> Emission:
        """Take one step of the current call."""
        self._tokens += step.tokens
        self._finish_reason = step.finish_reason or self._finish_reason
        self._usage = step.usage or self._usage
        seconds = self._elapsed(now)
        emission = self._answer.feed(step, seconds)
        if self._active and not emission.stop and (reason := self._limit_passed(seconds)):
            self._answer.decision = Decision(True, reason, forced=True)
            emission = emission._replace(stop=True)
        self._note_shown(emission)
        return emission

    def end(self, now: float) -> Emission:
        """Take the end of the current call, the model's or ours; judge the draft, plan the next."""
        emission = self._drain(now)
        draft = self._draft()
        self._verdict = self._judge(draft)
        self._record(now, draft)
        if self._verdict.complete or not self._active:
            self.done = True
        else:
            self._plan_after(draft)
        return self._last(emission)

    def fail(self, error: Exception, now: float) -> Emission:
        """Take a transport error in the current call: keep what came, plan to finish it.

        An error after the end, the model's or ours, changes nothing: the answer is there.
        """
        if self._finish_reason is not None or self._answer.decision.stop:
            return self.end(now)
        emission = self._drain(now)
        self.error = error
        draft = self._draft()
        self._verdict = Verdict(complete=False, reason=f"the transport failed: {error!r}")
        self._record(now, draft, error=f"{type(error).__name__}: {error}")
        if self._active or not draft.text:
            self._plan_after(draft)
        else:
            self.done = True
        return self._last(emission)

    def abandon(self, error: BaseException, now: float) -> None:
        """Book the current call when something other than the model ends it: the consumer goes."""
        self._verdict = Verdict(complete=False, reason=f"abandoned: {error!r}")
        self._record(now, self._draft(), error=f"abandoned: {type(error).__name__}")
        self.done = True

    @property
    def exhausted(self) -> bool:
        """Whether attempts, tokens or seconds have run out, or nothing more can help."""
        seconds, room = self.stopping.max_seconds, self._room()
        return (
            self.done
            or len(self.ledger) >= self.stopping.attempts
            or (room is not None and room < 1)
            or (seconds is not None and self.ledger.seconds >= seconds)
        )

    @property
    def would_stop(self) -> Checkpoint | None:
        """In shadow mode, where ``active`` would have cut."""
        return self._answer.would_stop

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

    # -- judging

    def _confirm(self, decision: Decision) -> bool:
        """Whether a cut here leaves a complete answer, as far as can be told without waiting."""
        check: CompletenessCheck | None = self.stopping.completeness
        if getattr(check, "slow", False):
            check = getattr(check, "fast", None)
        if check is None:
            return True
        draft = Draft(self._answer.settled, self._answer.reasoning, "cut", decision)
        return check(self.request, draft).complete

    def _draft(self) -> Draft:
        answer = self._answer
        incomplete = self.done and not self._verdict.complete
        if incomplete and self._fallback and len(self._fallback.text) > len(answer.text):
            return self._fallback
        reason = "cut" if answer.decision.stop else self._finish_reason
        return Draft(answer.text, answer.reasoning, reason, answer.decision)

    def _judge(self, draft: Draft) -> Verdict:
        if self.stopping.mode == "off":
            return Verdict(complete=True, reason="not checked: the mode is off")
        if draft.decision.keep is not None:
            return Verdict(complete=False, reason="the text runs in a loop")
        return self.stopping.completeness(self.request, draft)

    # -- limits

    def _room(self) -> int | None:
        """Output tokens that may still be billed, over all calls; None for no limit."""
        limits = [self.stopping.max_total_tokens, self.request.max_tokens]
        known = [limit for limit in limits if limit is not None]
        return min(known) - self.ledger.generated if known else None

    def _limit_passed(self, seconds: float) -> str:
        """Which limit a call that goes on has passed, or ``""``."""
        if self._finish_reason is not None:
            return ""
        limit, room = self.stopping.max_seconds, self._room()
        if limit is not None and seconds >= limit:
            return "deadline"
        return "max tokens" if room is not None and self._tokens > room else ""

    def _grant_next(self) -> bool:
        """Grant the next call its tokens: more of them only where the last grant was too small."""
        if not self._active:
            return True
        attempts = self.ledger.attempts
        grant = cap(
            self.stopping.budget(self.request, self.ledger),
            self.request,
            self.ledger,
            must_grow=not attempts or is_truncated(attempts[-1].finish_reason),
        )
        self._grant = grant if grant is not None else self._grant
        return grant is not None

    # -- booking and planning

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
        if draft.finish_reason == "cut" and self._call.max_tokens is not None:
            left = max(0, self._call.max_tokens - generated)
        self.ledger.attempts.append(
            Attempt(
                kind=self._call.kind,
                budget=self._grant,
                generated=generated,
                reasoning=self._answer.thought_tokens,
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

    def _plan_after(self, draft: Draft) -> None:
        """Choose the next call and its budget, and set the answer back to what is kept."""
        kind = triage(draft, shown=self._shown)
        final = draft.decision.forced and draft.decision.keep is None
        if kind is None or final or self.exhausted:
            self.done = True
            return
        kept = self._kept(kind, draft)
        booked = list(self.ledger.attempts)
        self._discard(kind, kept / max(1, len(draft.text)))
        if not self._grant_next():
            self.ledger.attempts[:] = booked
            self.done = True
            return
        # What a cut had saved is spent again by the call that follows it.
        self.ledger.attempts[-1] = replace(self.ledger.attempts[-1], avoided=0)
        if kind == "restart":
            self._fallback = draft
            self._answer.restart()
        else:
            spent = sum(a.generated - a.discarded - a.reasoning for a in self.ledger.attempts)
            self._answer.keep(kept, tokens=max(0, spent))
        self._plan = kind

    def _kept(self, kind: CallKind, draft: Draft) -> int:
        """How many characters of the draft the next call goes on from."""
        if kind == "continue":
            return len(draft.text)
        if kind != "reseed":
            return 0
        start = draft.decision.keep if draft.decision.keep is not None else find_loop(draft.text)
        return len(draft.text[:start].rstrip())

    def _discard(self, kind: CallKind, share: float) -> None:
        """Book the answer tokens whose text is dropped; on a restart all that still stand."""
        for i, attempt in enumerate(self.ledger.attempts):
            standing = attempt.generated - attempt.discarded
            if kind != "restart":
                standing = round((standing - attempt.reasoning) * (1 - share))
            if standing > 0:
                self.ledger.attempts[i] = replace(attempt, discarded=attempt.discarded + standing)

    def _make_call(self, kind: CallKind) -> Call:
        prefix, thoughts = self._answer.text, self._answer.reasoning
        opening, closing = self.stopping.reasoning_tags
        prefill = prefix
        if thoughts.strip() and (self._prefill or not prefix):
            prefill = f"{opening}{thoughts}{closing}\n\n{prefix}"
        tokens = None
        if self._grant is not None:
            limits = [self._grant - self.ledger.kept, self._room()]
            tokens = max(1, min(limit for limit in limits if limit is not None))
        return Call(
            kind=kind,
            attempt=len(self.ledger) + 1,
            max_tokens=tokens,
            prefix=prefix,
            prefill=prefill,
            turn=(_ANSWER_NOW if kind == "close_reasoning" else _GO_ON) if prefill else "",
            resample=self._must_differ(kind),
        )

    def _must_differ(self, kind: CallKind) -> bool:
        """Whether the same greedy run would only end as it did, by itself and badly."""
        if kind in ("first", "close_reasoning"):
            return False
        return kind == "reseed" or not broke_off(self.ledger.attempts[-1].finish_reason)

    def _last(self, emission: Emission) -> Emission:
        """Add the white space that is still held back, once nothing more can follow it."""
        if self.done:
            emission = emission._replace(text=emission.text + self._answer.held)
        return emission

    def _drain(self, now: float) -> Emission:
        emission = self._answer.drain(self._elapsed(now))
        self._note_shown(emission)
        return emission

    def _note_shown(self, emission: Emission) -> None:
        if self._streaming and emission.text:
            self._shown = True

    def _elapsed(self, now: float) -> float:
        return now - self._start if self._start is not None else 0.0
