"""Measure every request: tokens, seconds, calls, reasons, and what audited stops lose."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, TypeAlias

from stopping_core.errors import MissingPackage
from stopping_core.results import Audit, Completion
from stopping_core.telemetry import conventions as names
from stopping_core.telemetry.attributes import BoundedValues, billed, finish_reason, last_error
from stopping_core.types import Request

try:
    from opentelemetry import metrics, trace
except ImportError as error:
    raise MissingPackage("opentelemetry-api", "telemetry") from error

from stopping_core.telemetry.spans import record_span

if TYPE_CHECKING:
    from opentelemetry.metrics import Counter, Histogram, MeterProvider
    from opentelemetry.trace import TracerProvider
    from opentelemetry.util.types import AnyValue

Loss: TypeAlias = Callable[[Request, Audit], float | None]
"""Grades what a stop lost: a number in [0, 1], or None where it cannot tell."""

_SEGMENT = re.compile(r"[a-z][a-z0-9_]*")
_TAKEN: Final = frozenset({"audited", "complete", "estimated", "finish_reason", "mode", "reason"})
_COUNTED: Final = ("avoided", "retried", "discarded", "unseen", "probed", "reread")
_MOST_BEGUN: Final = 2000  # series, as the SDK's own limit
_ATTEMPT_BOUNDS: Final = (1.0, 2.0, 3.0, 4.0, 5.0, 8.0, 13.0)
_LOSS_BOUNDS: Final = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


class Telemetry:
    """A hook that puts every request into OpenTelemetry's metrics and traces.

    ``AdaptiveStopping(hooks=(Telemetry(),))``. It runs when a request has ended, in the caller's
    thread, and exports nothing by itself: that is the providers' work, which have threads of their
    own for it. Without an SDK it does nothing. What it raises is logged by the driver.

    Neither prompt nor answer, nor the message of an error, gets into a metric or a name. Of the
    metadata only the ``segments`` are read, and of these, of the models' names and of the reasons
    only the first ``most_values`` are told apart. The SDK limits their combinations as well, by
    default to 2000 a metric; what is beyond them is counted without attributes.

    ======================================  =========  =============================================
    metric                                  kind       of what
    ======================================  =========  =============================================
    ``gen_ai.client.token.usage``           histogram  tokens billed, by ``gen_ai.token.type``
    ``gen_ai.client.operation.duration``    histogram  seconds, all calls of a request together
    ``stopping.requests``                   counter    by mode, reason, complete, finish_reason and
                                                       audited
    ``stopping.tokens.avoided`` and so on   counter    tokens, as in
                                                       :class:`~stopping_core.types.Usage`
    ``stopping.attempts``                   histogram  calls a request
    ``stopping.audit.loss``                 histogram  loss of audited stops, in [0, 1]
    ``stopping.uncertified``                counter    requests for which the certificate's
                                                       promise does not hold
    ``stopping.level``                      gauge      certified risk in use, in (0, 1)
    ======================================  =========  =============================================

    Beside an instrumentation of the provider's client, the GenAI metrics are recorded twice: ours
    have the attribute ``stopping.mode``.

    Args:
        meter_provider: None for the global one.
        tracer_provider: None for the global one.
        segments: Names in ``request.metadata`` to tell requests apart by, as ``stopping.<name>``:
            small letters, digits and ``_``.
        most_values: Distinct values that are kept of each attribute, >= 1; later ones are
            ``"other"``.
        loss: Grades an audited stop. It is called in the request's own thread, so a judge that asks
            a model belongs somewhere else.
        provider: ``gen_ai.provider.name``, as the conventions spell it: ``"openai"``.
        keep_texts: Whether prompt and answer are put on the spans. Never on metrics.

    Raises:
        ValueError: An argument is out of its interval.

    Examples:
        >>> from stopping_core import AdaptiveStopping
        >>> stopping = AdaptiveStopping(hooks=(Telemetry(segments=("tenant",)),))

    References:
        OpenTelemetry, Semantic conventions for generative AI: metrics and client spans,
        https://github.com/open-telemetry/semantic-conventions-genai (in development).
    """

    def __init__(
        self,
        meter_provider: MeterProvider | None = None,
        tracer_provider: TracerProvider | None = None,
        segments: Iterable[str] = ("tenant", "use_case"),
        *,
        most_values: int = 100,
        loss: Loss | None = None,
        provider: str = "",
        keep_texts: bool = False,
    ) -> None:
        self._segments = {name: names.OURS + name for name in _checked(segments)}
        self._values = BoundedValues(most_values)
        self._begun: set[tuple[tuple[str, str], ...]] = set()
        self._loss = loss
        self._provider = provider
        self._keep_texts = keep_texts
        self._tracer = trace.get_tracer(names.SCOPE, tracer_provider=tracer_provider)
        meter = metrics.get_meter(names.SCOPE, meter_provider=meter_provider)
        self._token_usage: Histogram = meter.create_histogram(
            names.TOKEN_USAGE,
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=names.TOKEN_BOUNDS,
        )
        self._duration: Histogram = meter.create_histogram(
            names.DURATION,
            "s",
            "GenAI operation duration.",
            explicit_bucket_boundaries_advisory=names.DURATION_BOUNDS,
        )
        self._requests: Counter = meter.create_counter(
            "stopping.requests", "{request}", "Requests that have ended."
        )
        self._counted: dict[str, Counter] = {
            name: meter.create_counter(
                f"stopping.tokens.{name}", "{token}", f"Tokens {name}, as the ledger books them."
            )
            for name in _COUNTED
        }
        self._attempts: Histogram = meter.create_histogram(
            "stopping.attempts",
            "{call}",
            "Calls a request.",
            explicit_bucket_boundaries_advisory=_ATTEMPT_BOUNDS,
        )
        self._audit_loss: Histogram = meter.create_histogram(
            "stopping.audit.loss",
            "{loss}",
            "Loss of audited stops, in [0, 1].",
            explicit_bucket_boundaries_advisory=_LOSS_BOUNDS,
        )
        self._uncertified: Counter = meter.create_counter(
            "stopping.uncertified", "{request}", "Requests whose certificate does not hold."
        )
        self._level = meter.create_gauge("stopping.level", "{risk}", "Certified risk in use.")

    def __call__(self, request: Request, completion: Completion, /) -> None:
        """Measure one request.

        Raises:
            ValueError: ``loss`` gave a number outside [0, 1]. All else has been recorded by then.
        """
        shared = self._shared(request, completion)
        self._measure(request, completion, shared)
        record_span(
            self._tracer,
            request,
            completion,
            shared,
            bounded=self._values.of,
            keep_texts=self._keep_texts,
        )
        if self._loss is not None and completion.audit is not None:
            lost = self._loss(request, completion.audit)
            if lost is not None:
                if not 0 <= lost <= 1:
                    raise ValueError(f"loss must be in [0, 1], got {lost}")
                self._audit_loss.record(lost, shared)

    def _shared(self, request: Request, completion: Completion) -> dict[str, str]:
        """The attributes that everything of a request has."""
        shared = {
            names.OPERATION: "text_completion" if request.chat is False else "chat",
            "stopping.mode": completion.mode,
        }
        if request.model:
            shared[names.MODEL] = self._values.of(names.MODEL, request.model)
        if self._provider:
            shared[names.PROVIDER] = self._provider
        for name, attribute in self._segments.items():
            value = request.metadata.get(name)
            if value is not None:
                shared[attribute] = self._values.of(attribute, value)
        return shared

    def _measure(self, request: Request, completion: Completion, shared: dict[str, str]) -> None:
        usage, bounded = completion.usage, self._values.of
        ended = shared
        if error := last_error(completion):
            ended = {**shared, names.ERROR_TYPE: bounded(names.ERROR_TYPE, error)}
        why = finish_reason(
            completion.finish_reason, completion.attempts[-1].error if completion.attempts else ""
        )
        self._requests.add(
            1,
            {
                **ended,
                "stopping.reason": bounded("stopping.reason", completion.reason or "none"),
                "stopping.complete": completion.complete,
                "stopping.finish_reason": bounded("stopping.finish_reason", why),
                "stopping.audited": completion.audit is not None,
            },
        )
        self._duration.record(completion.seconds, ended)
        self._attempts.record(len(completion.attempts), shared)
        for kind, tokens in billed(completion).items():
            of_kind: dict[str, AnyValue] = {**shared, names.TOKEN_TYPE: kind}
            self._token_usage.record(tokens, of_kind | {"stopping.estimated": usage.estimated})
        first = self._is_first(shared)
        for name, counter in self._counted.items():
            tokens = getattr(usage, name)
            if tokens or first:
                counter.add(tokens, shared)
        if completion.uncertified or first:
            self._uncertified.add(1 if completion.uncertified else 0, shared)
        level = request.metadata.get("risk") if completion.risk is None else completion.risk
        if isinstance(level, float) and 0 < level < 1:
            self._level.set(level, shared)

    def _is_first(self, shared: dict[str, str]) -> bool:
        """Whether nothing with these attributes has been measured yet.

        Zeros are then counted as well: a series has to exist before its first rise can be seen.
        Later ones are left out, as they take as long as others.
        """
        key = tuple(shared.items())
        if key in self._begun or len(self._begun) >= _MOST_BEGUN:
            return False
        self._begun.add(key)
        return True


def _checked(segments: Iterable[str]) -> tuple[str, ...]:
    given = (segments,) if isinstance(segments, str) else tuple(segments)
    for name in given:
        if not isinstance(name, str) or not _SEGMENT.fullmatch(name):
            raise ValueError(f"segments must be names of small letters, digits and _, got {name!r}")
        if name in _TAKEN:
            raise ValueError(f"segments must not be one of {sorted(_TAKEN)}, got {name!r}")
    if len(set(given)) < len(given):
        raise ValueError(f"segments must be different names, got {given!r}")
    return given
