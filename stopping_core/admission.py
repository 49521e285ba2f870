"""Whether a request, and what comes of it, is of the kind that a certificate holds for."""

from __future__ import annotations

import logging
from dataclasses import replace

from stopping_core.budgets import cap
from stopping_core.errors import NotCertified
from stopping_core.ledger import Ledger
from stopping_core.policies import Never
from stopping_core.results import Attempt, Call, CallKind
from stopping_core.stopping import AdaptiveStopping
from stopping_core.types import Request, Step

_log = logging.getLogger(__name__)


def admit(
    stopping: AdaptiveStopping, request: Request, *, prefill: bool, hang_up_ends_bill: bool
) -> Admission:
    """Hold a request against the certificate; in shadow where that is wished for what is refused.

    Raises:
        NotCertified: It is refused.
    """
    try:
        return Admission(stopping, request, prefill=prefill, hang_up_ends_bill=hang_up_ends_bill)
    except NotCertified:
        if stopping.otherwise == "refuse":
            raise
    shadow = stopping.replace(mode="shadow")
    return Admission(shadow, request, prefill=prefill, hang_up_ends_bill=hang_up_ends_bill)


class Admission:
    """Holds one request against the certificate of its settings, where there is one.

    What differs before anything is sent is refused. What is uncommon, or only shows in the stream,
    keeps the session from cutting, which loses nothing; it is logged once.

    Args:
        stopping: The settings.
        request: The request.
        prefill: Whether the model continues a prefix as its own text.
        hang_up_ends_bill: Whether closing a stream ends the bill; else grants begin small.

    Attributes:
        stopping: The settings.
        request: The request; what was made from the certificate's template with question and
            context as the policy was certified on them.
        may_cut: Whether nothing has shown yet that keeps the session from cutting.
        uncertified: Why the certificate's promise does not hold, or ``""``: what was trusted, what
            is only watched, what keeps the session from cutting.
        certificate: Fingerprint of the certificate, or ``""`` where there is none.

    Raises:
        NotCertified: The request differs in a way that is not trusted, and the mode is ``active``.
    """

    def __init__(
        self,
        stopping: AdaptiveStopping,
        request: Request,
        *,
        prefill: bool = True,
        hang_up_ends_bill: bool = True,
    ) -> None:
        self.request = request
        self.may_cut = True
        self.uncertified = ""
        self.stopping = stopping
        self._prefill = prefill
        self._certificate = None if stopping.mode == "off" else stopping.certificate
        self.certificate = ""
        if self._certificate is not None:
            self.certificate = self._certificate.fingerprint
            self._hold(hang_up_ends_bill)

    def take_call(self, call: Call) -> None:
        """Look at a call before it is made: answers that are asked for anew were not recorded."""
        if self.stopping.mode != "active" or not self._watches("stream"):
            return
        if call.resample:
            self._keep_from_cutting("the answer is sampled anew, as the first was not complete")
        elif call.turn and not self._prefill:
            self._keep_from_cutting("the model was asked to go on in another turn")

    def take_step(self, step: Step) -> None:
        """Look at a step before the policy sees it."""
        if self._certificate is not None and self._watches("stream"):
            self._keep_from_cutting(self._certificate.not_covered(step))

    def take_thought(self, reasoning: str) -> None:
        """Look at reasoning whose tags stood in the text."""
        if reasoning.strip():
            self.take_step(Step(reasoning, channel="reasoning"))

    def _hold(self, hang_up_ends_bill: bool) -> None:
        stopping, certificate = self.stopping, self._certificate
        if certificate is None:
            return
        on_answer = certificate.scope.channel == "answer"
        found = certificate.differences(
            self.request,
            policy=stopping.policy if on_answer else stopping.reasoning,
            other=stopping.reasoning if on_answer else stopping.policy,
            completeness=stopping.completeness,
            every=stopping.checkpoint_every,
            tags=stopping.reasoning_tags,
            probe=(stopping.probe, stopping.probe_tokens),
        )
        if not self._prefill and self._ends_reasoning:
            found["settings"] = (
                "the model does not continue a prefix, and certified answers go on from the words "
                "that close the reasoning"
            )
        whole = certificate.scope.max_tokens
        if short := self._falls_short(whole, hang_up_ends_bill):
            found["budget"] = f"{short}, and certified runs had {whole} tokens"
        elif self._ends_reasoning and stopping.attempts < 2:
            found["budget"] = "attempts is 1, which leaves no call for the answer behind reasoning"
        if refused := {kind: told for kind, told in found.items() if kind not in stopping.trust}:
            error = NotCertified(refused)
            if stopping.mode == "active":
                raise error
            _log.warning("%s", error)
        self.uncertified = "; ".join(found.values())
        read = certificate.scope.read(self.request)
        if read is not None:
            question, context = read
            self.request = replace(self.request, question=question, context=context)
            if self._watches("size"):
                self._keep_from_cutting(certificate.scope.unlike(question, context))

    @property
    def _ends_reasoning(self) -> bool:
        certificate, stopping = self._certificate, self.stopping
        if certificate is None or certificate.scope.channel == "answer":
            return False
        return stopping.mode == "active" and not isinstance(stopping.reasoning, Never)

    def _watches(self, kind: str) -> bool:
        return self._certificate is not None and kind not in self.stopping.trust

    def _keep_from_cutting(self, why: str) -> None:
        if why and self.may_cut:
            self.may_cut = False
            self.uncertified = "; ".join(filter(None, (self.uncertified, why)))
            _log.warning("the certificate does not cover this request, so it is not cut: %s", why)

    def _falls_short(self, tokens: int, hang_up_ends_bill: bool) -> str:
        """Say what keeps an answer from having so many tokens as if in one call, or ``""``."""
        stopping, request, active = self.stopping, self.request, self.stopping.mode == "active"
        limits = {"the request's max_tokens": request.max_tokens}
        if active:
            limits["max_total_tokens"] = stopping.max_total_tokens
        for name, limit in limits.items():
            if limit is not None and limit < tokens:
                return f"{name} is {limit}"
        if not active:
            return ""
        if stopping.max_seconds is not None:
            return f"max_seconds is {stopping.max_seconds:g}"
        grants = self._grants(tokens)
        if not grants or grants[-1] < tokens:
            most = grants[-1] if grants else 0
            return f"the budget grants {most} tokens in {stopping.attempts} calls"
        first = grants[0]
        if not hang_up_ends_bill and stopping.attempts > 1:
            limit = cap(stopping.up_front(request, Ledger()), request, Ledger())
            first = first if limit is None else min(first, limit)
        if first < tokens and not self._prefill:
            return (
                f"the first of several calls grants {first} tokens, of budget and up_front the "
                f"lesser, to a model that does not continue a prefix"
            )
        if first < tokens and self._ends_reasoning:
            return (
                f"the first of several calls grants {first} tokens, of budget and up_front the "
                f"lesser, and reasoning that fills them would be closed anywhere"
            )
        return ""

    def _grants(self, tokens: int) -> list[int]:
        """What the budget grants, call by call, to an answer that needs so many tokens."""
        stopping, request = self.stopping, self.request
        ledger, grants = Ledger(), list[int]()
        for attempt in range(stopping.attempts):
            granted = cap(stopping.budget(request, ledger), request, ledger)
            if granted is None:
                break
            came = granted - (grants[-1] if grants else 0)
            grants.append(granted)
            if granted >= tokens:
                break
            kind: CallKind = "continue" if attempt else "first"
            ledger.attempts.append(Attempt(kind, granted, came, 0, None, 0.0, "length"))
        return grants
