"""One request over several calls: budget, verdict, ledger, plan. The driver makes the calls."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

from stopping_core.admission import admit
from stopping_core.allowance import Allowance
from stopping_core.answer import Answer, Emission
from stopping_core.auditing import Auditing, check_prober
from stopping_core.completeness import EndsSentence, broke_off, fast_part
from stopping_core.errors import BudgetExhausted
from stopping_core.faults import is_timeout, was_unsent
from stopping_core.labels import current_labels
from stopping_core.ledger import Ledger
from stopping_core.protocols import Prober
from stopping_core.results import Attempt, Call, CallKind, Completion, Draft, Verdict
from stopping_core.running import RunningCall
from stopping_core.signals import find_loop
from stopping_core.stopping import AdaptiveStopping
from stopping_core.triage import triage
from stopping_core.types import Checkpoint, Decision, Request, Step

_GO_ON = (
    "Your last message broke off. Go on exactly where it stopped, with the very next word. Repeat "
    "nothing of it and add no remark."
)
_ENDS_WELL = EndsSentence()
_ANSWER_NOW = "Stop thinking here and give only the final answer."
_EARLY = 0.01  # seconds that a timer may be early
_LINGERING = 5.0  # seconds that only usage and the end of the stream may take


class Session:
    """Runs one request: says which call to make, takes its steps, judges what came of it.

    A driver asks for :meth:`next_call`, feeds the steps of that call to :meth:`feed` until an
    emission says stop or the stream ends, then calls :meth:`end` (or :meth:`fail`, where the
    transport did), and begins again until :attr:`done`. All times are readings of one clock.

    Args:
        stopping: What to do.
        request: What is known about the request.
        streaming: Whether emitted text is shown to a user at once. It is then never taken back:
            an incomplete answer is only ever continued. Reasoning alone does not bind: a call that
            broke off in thought is made anew, and thinks anew, so it may be emitted twice.
        prefill: Whether the model continues a prefix as its own text. If not, it is asked to go on,
            and what it repeats of the prefix is removed.
        hang_up_ends_bill: Whether closing the stream ends what the provider generates and bills. If
            not, ``stopping.up_front`` limits the budget as well, and what is left of a grant when
            we hang up is booked as unseen and counts against the limits on the bill:
            ``stopping.max_total_tokens`` and ``CostCeiling``.
        prober: Asks the model what it would answer now, for policies that want to know.
        draw: Draws from [0, 1), once a request: below ``stopping.audit`` it is audited.

    Raises:
        NotCertified: ``stopping`` has a certificate that does not hold for the request.
        ValueError: A policy probes, and there is no prober.
    """

    def __init__(
        self,
        stopping: AdaptiveStopping,
        request: Request,
        *,
        streaming: bool = False,
        prefill: bool = True,
        hang_up_ends_bill: bool = True,
        prober: Prober | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        if labels := current_labels():
            request = replace(request, metadata={**labels, **request.metadata})
        self.request_id = str(request.metadata.get("request_id") or uuid4().hex)
        named = replace(request, metadata={**request.metadata, "request_id": self.request_id})
        stopping = stopping.steered(named)
        check_prober(stopping, prober)
        self._admission = admit(
            stopping, request, prefill=prefill, hang_up_ends_bill=hang_up_ends_bill
        )
        self.stopping = stopping = self._admission.stopping
        self.request = request = self._admission.request
        self._risk = stopping.risk
        self.ledger = Ledger()
        self.done = False
        self.error: Exception | None = None
        self._streaming = streaming
        self._prefill = prefill
        self._hang_up_ends_bill = hang_up_ends_bill
        self._active = stopping.mode == "active"
        self._auditing = Auditing(stopping, prober, draw)
        audited = self._auditing.drawn
        self._allowance = Allowance(
            stopping, self.ledger, hang_up_ends_bill=hang_up_ends_bill, audited=audited
        )
        self._answer = Answer(
            stopping,
            request,
            {"answer": self._confirm, "reasoning": self._confirm_thought},
            complete=self._is_complete,
            prefill=prefill,
            prober=prober,
            audited=audited,
        )
        self._start: float | None = None
        self._plan: CallKind = "first"
        self._call = Call("first", 0, None)
        self._verdict = Verdict(complete=False, reason="nothing was generated")
        self._running = RunningCall()
        self._shown = False
        self._fallback: Draft | None = None
        self._opening = ""  # of the answer, put in behind reasoning that was ended
        self._why_closed = ""

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
            if not self._allowance.grant_next(self.request):
                self.done = True
                raise BudgetExhausted(
                    "no output tokens can be granted: the budget is empty, or the prompt fills "
                    "the context window",
                    self.completion,
                )
        self._call = self._make_call(self._plan, now)
        self._running = RunningCall(now, is_open=True)
        self._auditing.begin_call()
        self._answer.begin(self._call)
        self._admission.take_call(self._call)
        return self._call

    def feed(self, step: Step, now: float) -> Emission:
        """Take one step of the current call."""
        self._running.take(step)
        self._auditing.take(step)
        self._admission.take_step(step)
        seconds = self._elapsed(now)
        emission = self._answer.feed(step, seconds)
        if self._active and not emission.stop and not self._running.ended:
            tokens = self._running.tokens + self._answer.probed
            reason = self._allowance.passed(tokens, seconds)
            if reason and self._answer.overran:
                self._auditing.broken = True
                early = self._answer.fall_back(seconds)
                emission = emission._replace(text=emission.text + early, stop=True)
            if reason and not self._answer.decision.stop:
                self._answer.decision = Decision(True, reason, forced=True)
                emission = emission._replace(stop=True)
        self._note_shown(emission)
        return emission

    def end(self, now: float) -> Emission:
        """Take the end of the current call, the model's or ours; judge the draft, plan the next."""
        emission = self._drain(now)
        draft = self._draft()
        auditing, overran = self._auditing, self._answer.overran
        auditing.end_call(self._answer, self._running.finish_reason, self._allowance.grant)
        self._verdict = self._judge(draft)
        hung_up = draft.finish_reason == "cut" and (auditing.broken or not overran)
        self._record(now, draft, hung_up=hung_up)
        if self._verdict.complete or not self._active:
            self.done = True
        else:
            self._plan_after(draft)
        return self._last(emission)

    def fail(self, error: Exception, now: float) -> Emission:
        """Take a transport error in the current call: keep what came, plan to finish it.

        An error after the end, the model's or ours, changes nothing: the answer is there. A
        time-out at the end of ``max_seconds`` is the stop that the next step would have been.
        """
        running = self._running
        if running.ended or self._answer.decision.stop:
            self._auditing.broken = not running.ended
            return self.end(now)
        running.finish_reason = None
        running.unsent = running.tokens == 0 and was_unsent(error)
        limit = self.stopping.max_seconds if self._active else None
        if limit is not None and is_timeout(error) and self._elapsed(now) + _EARLY >= limit:
            self._answer.decision = Decision(True, "deadline", forced=True)
            return self.end(now)
        emission = self._drain(now)
        self.error = error
        draft = self._draft()
        self._verdict = Verdict(complete=False, reason=f"the transport failed: {error!r}")
        hung_up = running.tokens > 0 or is_timeout(error)
        self._record(now, draft, hung_up=hung_up, error=f"{type(error).__name__}: {error}")
        if self._active or not draft.text:
            self._plan_after(draft)
        else:
            self.done = True
        return self._last(emission)

    def abandon(self, error: BaseException, now: float) -> None:
        """End the session where something other than the model does: the consumer goes, a bug.

        A call that is still open is booked. What came of it is in :attr:`completion`.
        """
        if self._running.is_open:
            self._verdict = Verdict(complete=False, reason=f"abandoned: {error!r}")
            name = type(error).__name__
            self._record(now, self._draft(), hung_up=True, error=f"abandoned: {name}")
        self.done = True

    def give_up(self) -> Emission:
        """Take it that no further call will be made; say what was still held back."""
        self.done = True
        return self._last(Emission())

    def patience(self, now: float) -> float | None:
        """Seconds to wait for the next step of the call, or None.

        Not long after a finish reason that came alone: the answer is there. One that came with text
        may be a provider's word on every chunk.
        """
        seconds = self._allowance.patience(self._elapsed(now))
        if self._active and self._running.ended == "alone":
            return _LINGERING if seconds is None else min(seconds, _LINGERING)
        return seconds

    @property
    def exhausted(self) -> bool:
        """Whether attempts, tokens or seconds have run out, or nothing more can help."""
        return self.done or self._allowance.exhausted(self.request)

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
            reason=draft.decision.reason or self._why_closed,
            usage=self.ledger.usage(),
            attempts=tuple(self.ledger.attempts),
            seconds=self.ledger.seconds,
            mode=self.stopping.mode,
            would_stop=self.would_stop,
            hang_up_ends_bill=self._hang_up_ends_bill,
            uncertified=self._admission.uncertified,
            audit=self._auditing.with_answer(draft),
            audit_share=self._auditing.share,
            audit_failed=self._auditing.failed,
            drawn=self._auditing.drawn,
            trial=self._auditing.trial,
            seen=self._auditing.seen,
            request_id=self.request_id,
            risk=self._risk,
            certificate=self._admission.certificate,
        )

    # -- judging

    def _confirm(self, decision: Decision) -> bool:
        """Whether a cut here leaves a complete answer, as far as can be told without waiting.

        None is made in a stream that the certificate does not cover.
        """
        self._admission.take_thought(self._answer.reasoning)
        return self._admission.may_cut and self._is_complete(self._answer.settled, decision)

    def _is_complete(self, text: str, decision: Decision) -> bool:
        check = fast_part(self.stopping.completeness)
        draft = Draft(text, self._answer.reasoning, "cut", decision)
        return check is None or check(self.request, draft).complete

    def _confirm_thought(self, decision: Decision) -> bool:
        return self._admission.may_cut

    def _draft(self) -> Draft:
        answer = self._answer
        reason = "cut" if answer.decision.stop else self._running.finish_reason
        draft = Draft(answer.text, answer.reasoning, reason, answer.decision)
        incomplete = self.done and not self._verdict.complete
        return self._fuller(draft) if incomplete else draft

    def _fuller(self, draft: Draft) -> Draft:
        """The draft or one before it that was given up, whichever says more."""
        given_up = self._fallback
        if given_up is None or _size(given_up) <= _size(draft):
            return draft
        return given_up

    def _judge(self, draft: Draft) -> Verdict:
        if self.stopping.mode == "off":
            return Verdict(complete=True, reason="not checked: the mode is off")
        if draft.decision.keep is not None:
            return Verdict(complete=False, reason="the text runs in a loop")
        verdict = self.stopping.completeness(self.request, draft)
        if (
            verdict.complete
            and self._adds_nothing(draft)
            and not _ENDS_WELL(self.request, draft).complete
        ):
            return Verdict(complete=False, reason="asked to go on, the model only repeated itself")
        return verdict

    def _adds_nothing(self, draft: Draft) -> bool:
        """Whether the model was asked to go on, ended by itself, and has said nothing new."""
        asked = self._call.kind == "continue" and not self._prefill
        ended = not draft.decision.stop
        return self._active and asked and ended and draft.text.strip() == self._call.prefix.strip()

    # -- booking and planning

    def _record(self, now: float, draft: Draft, *, hung_up: bool, error: str = "") -> None:
        running = self._running
        running.is_open = False
        generated, counted = running.generated(hung_up=hung_up)
        prompt = running.usage.prompt if running.usage is not None else None
        if prompt is not None and self._call.kind == "first":
            # What the prompt takes of the context window is known from here on.
            self.request = replace(self.request, prompt_tokens=prompt)
        if prompt is None and self.request.prompt_tokens is not None:
            prompt = self.request.prompt_tokens + (self.ledger.kept if self._call.prefill else 0)
        if generated or not error:  # a call that was refused was not billed
            self.ledger.estimated = not counted or (
                self.ledger.estimated and self.ledger.billed > 0
            )
        left = 0
        if running.still_billed(hung_up=hung_up) and self._call.max_tokens is not None:
            left = max(0, self._call.max_tokens - generated)
        saved = hung_up and draft.finish_reason == "cut" and self._hang_up_ends_bill
        self.ledger.attempts.append(
            Attempt(
                kind=self._call.kind,
                budget=self._allowance.grant,
                generated=generated,
                reasoning=self._answer.thought_tokens,
                prompt_tokens=prompt,
                seconds=now - running.start,
                finish_reason=draft.finish_reason,
                reason=draft.decision.reason,
                verdict=self._verdict,
                avoided=left if saved else 0,
                unseen=0 if self._hang_up_ends_bill else left,
                probed=self._answer.probed,
                reread=self._answer.reread,
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
        self.ledger.discard(1 - kept / max(1, len(draft.text)), thoughts=kind == "restart")
        if not self._allowance.grant_next(self.request):
            self.ledger.attempts[:] = booked
            self.done = True
            return
        # What a cut had saved is spent again by the call that follows it.
        self.ledger.attempts[-1] = replace(self.ledger.attempts[-1], avoided=0)
        if kind == "restart":
            self._fallback = self._fuller(draft)
            self._answer.restart()
        else:
            spent = sum(a.generated - a.discarded - a.reasoning for a in self.ledger.attempts)
            self._answer.keep(kept, tokens=max(0, spent))
        self._plan = kind
        if kind == "close_reasoning":
            self._why_closed = draft.decision.reason
            words = self.stopping.closing_words(prefill=self._prefill)
            self._opening = words.partition(self.stopping.reasoning_tags[1])[2].lstrip()
            self._answer.open(self._opening)

    def _kept(self, kind: CallKind, draft: Draft) -> int:
        """How many characters of the draft the next call goes on from."""
        if kind == "continue":
            return len(draft.text)
        if kind != "reseed":
            return 0
        start = draft.decision.keep if draft.decision.keep is not None else find_loop(draft.text)
        return len(draft.text[:start].rstrip())

    def _make_call(self, kind: CallKind, now: float) -> Call:
        prefix, thoughts, words = self._answer.text, self._answer.reasoning, ""
        prefill = self._answer.written if self._prefill or not prefix else prefix
        if kind == "close_reasoning":
            words = self.stopping.closing_words(prefill=self._prefill)
            prefill = f"{self.stopping.reasoning_tags[0]}{thoughts}{words}"
        return Call(
            kind=kind,
            attempt=len(self.ledger) + 1,
            max_tokens=self._allowance.begin(self.request),
            prefix=prefix,
            prefill=prefill,
            words=words,
            turn=(_ANSWER_NOW if kind == "close_reasoning" else _GO_ON) if prefill else "",
            resample=self._must_differ(kind),
            timeout=self._allowance.patience(self._elapsed(now)),
        )

    def _must_differ(self, kind: CallKind) -> bool:
        """Whether the same greedy run would only end as it did, by itself and badly."""
        if kind in ("first", "close_reasoning"):
            return False
        return kind == "reseed" or not broke_off(self.ledger.attempts[-1].finish_reason)

    def _last(self, emission: Emission) -> Emission:
        """Add how the answer that is asked for next begins, or what was held back to the end."""
        if self.done:
            emission = emission._replace(text=emission.text + self._answer.held)
        elif self._opening:
            emission = emission._replace(text=emission.text + self._opening)
            self._opening = ""
            self._note_shown(emission)
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


def _size(draft: Draft) -> tuple[int, int]:
    return len(draft.text), len(draft.reasoning)
