"""Production's own recorded runs: of requests that were seen to their ends, a share at random."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import random
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np

from stopping_core.certificates import bare_model
from stopping_core.completeness import is_truncated
from stopping_core.metrics import GRADERS
from stopping_core.questions import Question, is_encodable
from stopping_core.results import Completion
from stopping_core.sampling import other_sampling
from stopping_core.steering.losses import gold_in_metadata
from stopping_core.templates import Template
from stopping_core.traces.run import Header, Run
from stopping_core.traces.run_log import RunLog
from stopping_core.types import Request, Step

_log = logging.getLogger(__name__)
_recorders: weakref.WeakSet[RunRecorder] = weakref.WeakSet()

_UNSEEN = frozenset(
    {
        "broke off",
        "no gold in the answer",
        "not seen to its end",
        "nothing was generated",
        "several tokens a chunk",
        "text without tokens",
    }
)
"""Why a request that was drawn is not among the runs, where that may have to do with its answer."""


class RunRecorder:
    """Keeps full runs of production as ``stopping record`` would have recorded them.

    A hook, such as of ``AdaptiveStopping.load(path, audit=0.1, hooks=(recorder,))``. Requests that
    are drawn for an audit are recorded, whether or not anything was stopped in them, and so are
    those in shadow mode, each with the probability ``share``: what is recorded is then drawn as the
    traffic is. What is of another kind is known before the answer, and left out. A drawn request
    whose answer does not show all of its tokens, or broke off before the cap, is noted as unseen:
    ``stopping refit`` refuses where these are many, as they are not as the others are. Prompts and
    answers are written to the disk.

    A run without a gold answer cannot be graded, and is left out. Where production knows none, the
    full answer itself may be asked what counts: ``gold=lambda request, answer: [stated(answer)]``
    makes the loss one of agreement.

    Only answers are stopped by what is fitted on these runs: where a model reasons first, probes
    would be needed.

    Args:
        folder: Of the log, see :class:`~stopping_core.traces.run_log.RunLog`.
        model: Name of the model; others are left out.
        template: That the prompts are made of; what is made otherwise is left out.
        max_tokens: The cap of the runs, >= 1: longer ones are cut there. Requests that may have
            fewer are left out, so it should be what the model is asked for.
        grader: Name in ``stopping_core.metrics.GRADERS`` of the one that suits the gold answers.
        gold: Returns the gold answers of a request, given the full answer too. By default those
            under ``"gold"`` of its metadata.
        share: Of the requests, in (0, 1]; at most ``AdaptiveStopping.audit``, or those that nothing
            would be cut of are too many among the runs.
        fingerprint: Of the model, as requests have it; ``""`` where that is not known.
        temperature: At which the model is sampled; what is sampled otherwise is left out.
        draw: From [0, 1).
        clock: Seconds since 1970.

    Raises:
        ValueError: An argument is out of its interval, or there is no such grader.
        OSError: The folder cannot be made.

    Attributes:
        recorded: How many runs were.
        skipped: How many were drawn and not recorded, by why.
    """

    wants_steps = True

    def __init__(
        self,
        folder: str | Path,
        model: str,
        template: Template,
        *,
        max_tokens: int,
        grader: str,
        gold: Callable[[Request, str], Sequence[str]] | None = None,
        share: float = 0.1,
        fingerprint: str = "",
        temperature: float = 0.0,
        draw: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if grader not in GRADERS:
            raise ValueError(f"grader must be one of {sorted(GRADERS)}, got {grader!r}")
        if not 0 < share <= 1:
            raise ValueError(f"share must be in (0, 1], got {share}")
        if max_tokens < 1:
            raise ValueError(f"max_tokens must be >= 1, got {max_tokens}")
        self.recorded = 0
        self.skipped: Counter[str] = Counter()
        self._told: set[str] = set()
        self._template = template
        _recorders.add(self)
        self._grader, self._gold = grader, gold
        self._share = share
        self._draw, self._clock = draw, clock
        self._lock = threading.Lock()
        self._runs = RunLog(
            folder,
            Header(
                model=model,
                model_fingerprint=fingerprint,
                template=template.name,
                template_fingerprint=template.fingerprint,
                max_tokens=max_tokens,
                temperature=temperature,
            ),
        )

    @property
    def header(self) -> Header:
        """What the runs have in common."""
        return self._runs.header

    def __call__(self, request: Request, completion: Completion, /) -> None:
        """Record what was seen of a request: a :class:`~stopping_core.protocols.Hook`."""
        if 0 < completion.audit_share < self._share:
            self._warn_of("share")
        if not completion.audit_share or not self._is_drawn(completion):
            return
        run = self._run(request, completion)
        if isinstance(run, Run):
            self._runs.append(run, self._clock())
        elif run in _UNSEEN:
            self._runs.note(run, self._clock())
        with self._lock:
            if isinstance(run, Run):
                self.recorded += 1
                return
            self.skipped[run] += 1
        self._warn_of(run)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # there is one, however often settings are copied

    def __reduce__(self) -> NoReturn:
        raise TypeError("a RunRecorder cannot be pickled: it belongs to one process")

    def renew_lock(self) -> None:
        """Forget who held the lock: after a fork nobody is left who could release it."""
        self._lock = threading.Lock()

    def _warn_of(self, what: str) -> None:
        """Tell once what keeps runs from being recorded, or from being drawn as the traffic is."""
        with self._lock:
            known = what in self._told
            self._told.add(what)
        if known:
            return
        if what == "share":
            _log.warning(
                "share is %g, and a smaller share of the requests is audited: too many of the runs "
                "will be of requests in which nothing may be cut",
                self._share,
            )
        else:
            _log.warning("a run was not recorded, and more may not be: %s", what)

    def _is_drawn(self, completion: Completion) -> bool:
        """Whether a request is of the share, by a draw of its own or the audit's."""
        seen = completion.mode == "shadow" or completion.drawn
        return seen and self._draw() * completion.audit_share < self._share

    def _run(self, request: Request, completion: Completion) -> Run | str:
        """Make the run, or say why there is none."""
        header = self.header
        known = request.model_fingerprint in ("", header.model_fingerprint)
        if bare_model(request.model) != bare_model(header.model) or not known:
            return "another model"
        if other_sampling(request.sampling, header.temperature):
            return "sampled otherwise"
        asked = self._asked(request)
        if asked is None:
            return "another template"
        question, prompt = asked
        first = completion.attempts[0].budget if completion.attempts else None
        if any(one is not None and one < header.max_tokens for one in (request.max_tokens, first)):
            return "less room"
        if self._gold is None and not any(map(str.strip, gold_in_metadata(request))):
            return "no gold answer"
        if not completion.seen:
            return "not seen to its end"
        spelt = _spelt(completion.seen)
        if isinstance(spelt, str):
            return spelt
        tokens, logprobs = spelt
        finish = next((one.finish_reason for one in completion.seen[::-1] if one.finish_reason), "")
        full = "".join(tokens)
        if len(tokens) > header.max_tokens:
            tokens, finish = tokens[: header.max_tokens], "length"
        elif not finish or (is_truncated(finish) and len(tokens) < header.max_tokens):
            return "broke off"
        gold = tuple(gold_in_metadata(request) if self._gold is None else self._gold(request, full))
        if not any(one.strip() for one in gold):
            return "no gold in the answer"
        about = question.context or question.question
        return Run(
            question_id=completion.request_id,
            question=question.question,
            context=question.context,
            gold=tuple(one for one in gold if one.strip()),
            grader=self._grader,
            group=hashlib.sha256(about.encode("utf-8", "replace")).hexdigest()[:16],
            prompt=prompt,
            prompt_tokens=request.prompt_tokens,
            finish_reason=finish,
            tokens=tuple(tokens),
            logprobs=logprobs if logprobs is None else logprobs[: len(tokens)],
        )

    def _asked(self, request: Request) -> tuple[Question, str] | None:
        """Question, context and prompt, where the template makes that of them; else None."""
        template = self._template
        if request.beside or request.chat not in (None, template.chat):
            return None
        if not is_encodable(request.prompt + request.question + request.context):
            return None
        if not template.chat:
            found = template.read(request.prompt)
            return None if found is None else (_question(*found), request.prompt)
        read = template.read(request.question), (request.question, request.context)
        for question in (_question(*one) for one in read if one is not None):
            messages = template.messages(question)
            sent = next(one["content"] for one in messages if one["role"] == "user")
            if not question.question.strip():
                continue
            if sent in request.prompt or (not request.prompt and sent == request.question):
                whole = "\n\n".join(one["content"] for one in messages)
                return question, request.prompt or whole
        return None


def _question(question: str, context: str) -> Question:
    return Question("request", question, ("?",), context)


def _spelt(steps: Sequence[Step]) -> tuple[list[str], np.ndarray[Any, Any] | None] | str:
    """The tokens of a stream and their logprobs, or why they cannot be told apart."""
    tokens: list[str] = []
    logprobs: list[float] = []
    for step in steps:
        if step.channel != "answer":
            return "the model reasons"
        if step.tokens > 1 or (step.tokens and len(step.text.split()) > 1):
            return "several tokens a chunk"
        if step.tokens:
            tokens.append(step.text)
            logprobs.append(math.nan if step.logprob is None else step.logprob)
        elif step.text:
            return "text without tokens"
    if not tokens:
        return "nothing was generated"
    known = np.array(logprobs, np.float32)
    return tokens, None if np.isnan(known).all() else known


def _after_fork() -> None:
    for recorder in list(_recorders):
        recorder.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
