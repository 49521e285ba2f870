"""What a transport error says: whether it may pass, and how long to wait before the next call.

Client libraries are told by the shape of their errors, so that none has to be imported.
"""

from __future__ import annotations

import math
import re
import time
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import PurePath
from typing import Any

_PASSING_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
# Names of classes, their own or a base's.
_PASSING_NAMES = frozenset(
    {
        "APIConnectionError",  # openai, anthropic
        "ChunkedEncodingError",  # requests
        "ClientConnectionError",  # aiohttp
        "ClientPayloadError",
        "ConnectionClosedError",  # botocore
        "ConnectionError",  # requests, botocore
        "DecodingError",  # httpx: what came of the stream was broken
        "IncompleteRead",  # http.client
        "JSONDecodeError",  # json: likewise
        "NetworkError",  # httpx, httpcore
        "ProtocolError",  # urllib3
        "RemoteProtocolError",  # httpx, httpcore
        "TransportError",  # httpx
    }
)
_LASTING_NAMES = frozenset({"LocalProtocolError", "UnsupportedProtocol"})  # httpx: our own fault
_TIMEOUT_NAMES = frozenset(
    {
        "APITimeoutError",  # openai, anthropic
        "ModelTimeoutError",  # langchain
        "ReadTimeoutError",  # urllib3, botocore
        "Timeout",  # requests
        "TimeoutError",
        "TimeoutException",  # httpx, httpcore
    }
)
# Time-outs before the request had left.
_UNSENT_NAMES = frozenset(
    {
        "ConnectTimeout",  # httpx, httpcore, requests
        "ConnectTimeoutError",  # urllib3, botocore
        "ConnectionTimeoutError",  # aiohttp
        "PoolTimeout",  # httpx, httpcore
    }
)
# Words of error bodies, without case and punctuation.
_PASSING_WORDS = frozenset(
    {
        "apierror",
        "badgateway",
        "capacityexceeded",
        "deadlineexceeded",
        "engineoverloaded",
        "internal",
        "internalerror",
        "internalservererror",
        "internalserverexception",
        "modelnotreadyexception",
        "modelstreamerrorexception",
        "modeltimeoutexception",
        "overloaded",
        "overloadederror",
        "overcapacity",
        "ratelimited",
        "ratelimiterror",
        "ratelimitexceeded",
        "resourceexhausted",
        "servererror",
        "serveroverloaded",
        "serviceunavailable",
        "serviceunavailableerror",
        "serviceunavailableexception",
        "throttlingexception",
        "timeout",
        "timeouterror",
        "toomanyrequests",
        "unavailable",
        "unavailableerror",
    }
)
_LASTING_WORDS = frozenset(
    {
        "authenticationerror",
        "badrequesterror",
        "billinghardlimitreached",
        "billingnotactive",
        "contextlengthexceeded",
        "exceedcontextsizeerror",
        "insufficientquota",
        "invalidapikey",
        "invalidrequesterror",
        "notfounderror",
        "permissionerror",
    }
)


def is_transient(error: BaseException) -> bool:
    """Whether a transport error may pass: a broken connection, a time-out, HTTP 429 or 5xx.

    An error that comes inside a stream has no status of its own: the words of its body tell. Where
    it has none either, the request was accepted and the server failed later, which may pass. A
    library's own ``is_retryable`` is believed where there is no status.

    Examples:
        >>> is_transient(ConnectionError("reset")), is_transient(ValueError("no such model"))
        (True, False)
    """
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    said = list(_said(error))
    words = {re.sub(r"[\W_]", "", one).lower() for one in said if isinstance(one, str)}
    if words & _LASTING_WORDS:
        return False
    status = next((one for one in map(_status, said) if 400 <= one < 600), None)
    if status is not None:
        return status in _PASSING_STATUS
    judged = getattr(error, "is_retryable", None)
    if isinstance(judged, bool):
        return judged
    names = {base.__name__ for base in type(error).__mro__}
    if words & _PASSING_WORDS or (type(error).__name__ == "APIError" and not words):
        return True
    return bool(names & (_PASSING_NAMES | _TIMEOUT_NAMES)) and not names & _LASTING_NAMES


def is_timeout(error: BaseException) -> bool:
    """Whether nothing came for too long, as our own drivers or the client's library found."""
    return any(base.__name__ in _TIMEOUT_NAMES for base in type(error).__mro__)


def was_unsent(error: BaseException) -> bool:
    """Whether the time ran out before the provider had the request: nothing can be billed."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        if any(base.__name__ in _UNSENT_NAMES for base in type(cause).__mro__):
            return True
        seen.append(cause)
        cause = cause.__cause__
    return False


def retry_after(error: BaseException | None, now: float | None = None) -> float | None:
    """How long the server asks to wait, from ``Retry-After`` or ``retry-after-ms``.

    Args:
        error: What the call failed with.
        now: Seconds since 1970, for a date. None for the time now.

    Returns:
        Seconds, >= 0. None where the server said nothing, or nothing that can be read.
    """
    found = _headers(error) or _headers(getattr(error, "__cause__", None))
    milliseconds = _number(found.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    asked = found.get("retry-after")
    seconds = _number(asked)
    return seconds if seconds is not None else _until(asked, time.time() if now is None else now)


def _headers(error: BaseException | None) -> dict[str, str]:
    """The headers of the response that an error holds, names in lower case."""
    response = getattr(error, "response", None)
    headers: Any = getattr(response, "headers", None) or getattr(error, "headers", None)
    if isinstance(response, Mapping):  # botocore
        headers = _at(response, "ResponseMetadata", "HTTPHeaders")
    if not hasattr(headers, "items"):
        return {}
    return {str(name).lower(): str(value).strip() for name, value in headers.items()}


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < math.inf else None


def _until(date: str | None, now: float) -> float | None:
    """Seconds until an HTTP date, 0 where it has passed."""
    try:
        then = parsedate_to_datetime(date or "")
        return max(0.0, (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, OverflowError, OSError):
        return None


def _said(error: BaseException) -> Iterator[Any]:
    """What an error calls itself: HTTP statuses and words, its own before those of its body."""
    response = getattr(error, "response", None)
    yield getattr(error, "status_code", None)
    yield getattr(response, "status_code", None)
    yield _at(response, "ResponseMetadata", "HTTPStatusCode")
    body = getattr(error, "body", None)
    if not isinstance(body, Mapping):
        body = error.args[0] if error.args else None
    for holder in (_at(body, "error"), _at(response, "Error")):
        yield from (_at(holder, key) for key in ("code", "Code", "type", "status"))
    yield from (_at(body, key) for key in ("code", "type"))
    yield from (getattr(error, key, None) for key in ("status", "code", "type"))


def _status(one: Any) -> int:
    """An HTTP status, as a number or in digits; 0 for anything else."""
    if isinstance(one, str) and one.isascii() and one.isdigit():
        return int(one) if len(one) == 3 else 0
    return one if isinstance(one, int) else 0


def _at(value: Any, *path: str) -> Any:
    """What is at a path through mappings; None where it leads nowhere."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def unquoted(error: BaseException) -> str:
    """Name an error by its type and its place: its text may quote a prompt, an answer or a key.

    Examples:
        >>> try:
        ...     int("sk-secret")
        ... except ValueError as error:
        ...     unquoted(error).split(" in ")[0]
        'ValueError'
    """
    places = traceback.extract_tb(error.__traceback__)
    if not places:
        return type(error).__name__
    last = places[-1]
    return f"{type(error).__name__} in {last.name} ({PurePath(last.filename).name}:{last.lineno})"
