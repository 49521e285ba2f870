"""What errors of the transport say, in the shapes that client libraries give them."""

from __future__ import annotations

import json
import time
from email.utils import formatdate
from typing import Any

import httpx
import openai
import pytest

from stopping_core.faults import is_timeout, is_transient, retry_after, was_unsent

REQUEST = httpx.Request("POST", "http://127.0.0.1/v1/chat/completions")


def in_stream(body: object) -> Exception:
    """What openai's client raises when an event of the stream holds an error."""
    return openai.APIError("An error occurred during streaming", REQUEST, body=body)


def refused(status: int, body: object = None, **headers: str) -> Exception:
    """What openai's client raises where the response has a status."""
    response = httpx.Response(status, headers=headers, request=REQUEST)
    return openai.APIStatusError("refused", response=response, body=body)


def named(name: str, *bases: str, **attributes: Any) -> Exception:
    """An error of a library that is not installed, told by names."""
    kind: type[Exception] = Exception
    for base in reversed(bases):
        kind = type(base, (kind,), {})
    error: Exception = type(name, (kind,), {})("no")
    for key, value in attributes.items():
        setattr(error, key, value)
    return error


def botocore(code: str, status: int, **headers: str) -> Exception:
    """The shape of botocore's ClientError."""
    about = {"HTTPStatusCode": status, "HTTPHeaders": headers}
    response = {"Error": {"Code": code}, "ResponseMetadata": about}
    return named("ClientError", "BotoCoreError", response=response)


@pytest.mark.parametrize(
    "error",
    [
        in_stream({"code": "server_error", "message": "overloaded"}),
        in_stream({"code": None, "type": "server_error"}),
        in_stream({"code": 500, "type": "server_error"}),
        in_stream({"code": 502, "message": "Provider disconnected"}),
        in_stream({"type": "InternalServerError", "code": 500}),
        in_stream({"type": "overloaded_error"}),
        in_stream({"code": "429"}),
        in_stream({"code": "503", "message": "no"}),
        in_stream({"type": "rate_limited"}),
        in_stream({"type": "requests", "code": "over_capacity"}),
        in_stream({"type": "bad_gateway"}),
        in_stream({"type": "server_overloaded"}),
        in_stream({"code": "rate_limit_exceeded"}),
        in_stream({"message": "something went wrong"}),
        in_stream("something went wrong"),
        in_stream(None),
        openai.APITimeoutError(REQUEST),
        openai.APIConnectionError(request=REQUEST),
        refused(503),
        refused(529),
        refused(200, {"type": "error", "error": {"type": "overloaded_error"}}),
        ValueError({"code": 502, "message": "Provider returned error"}),
        httpx.ReadTimeout("slow"),
        httpx.ReadError("reset"),
        httpx.DecodingError("broken"),
        json.JSONDecodeError("broken", "{", 1),
        httpx.RemoteProtocolError("peer closed connection without sending complete message body"),
        named("RemoteProtocolError", "ProtocolError"),
        named("ReadTimeout", "TimeoutException"),
        named("IncompleteRead", "HTTPException"),
        named("ReadTimeoutError", "HTTPClientError"),
        named("ClientResponseError", "ClientError", status=503),
        named("ServerError", "APIError", code=503, status="UNAVAILABLE"),
        named("GoogleRateLimitError", "ModelRateLimitError", is_retryable=True),
        botocore("ThrottlingException", 429),
        botocore("ModelStreamErrorException", 0),
    ],
    ids=repr,
)
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    """Overload, limits on the rate, failures of the server, broken and silent connections."""
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        in_stream({"code": "context_length_exceeded", "type": "invalid_request_error"}),
        in_stream({"code": 400, "type": "BadRequestError"}),
        in_stream({"code": "400"}),
        in_stream({"code": "5030"}),
        in_stream({"code": "\u0665\u0660\u0663"}),
        in_stream({"code": "insufficient_quota", "type": "insufficient_quota"}),
        in_stream({"code": "content_policy_violation"}),
        in_stream({"type": "authentication_error"}),
        refused(429, {"code": "insufficient_quota"}),
        refused(400),
        refused(401),
        refused(404),
        refused(200, {"type": "error", "error": {"type": "invalid_request_error"}}),
        ValueError({"code": 400, "message": "no such model"}),
        ValueError("no such model"),
        httpx.UnsupportedProtocol("no scheme"),
        httpx.LocalProtocolError("illegal header"),
        named("GoogleInvalidRequestError", "ModelError", is_retryable=False),
        named("APIErrorOfAnotherKind", "APIError"),
        named("ServerSaysNo", status="failed", code=lambda: 503),
        botocore("ValidationException", 400),
        KeyError("choices"),
    ],
    ids=repr,
)
def test_what_stays_is_not(error: Exception) -> None:
    """The same request would only fail again, and cost again."""
    assert not is_transient(error)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError(), True),
        (httpx.ReadTimeout("slow"), True),
        (openai.APITimeoutError(REQUEST), True),
        (httpx.ReadError("reset"), False),
        (ConnectionError(), False),
        (refused(504), False),
    ],
)
def test_silence_is_told_from_a_break(error: Exception, expected: bool) -> None:
    """Only where nothing came for too long may the provider still be at work."""
    assert is_timeout(error) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (httpx.ConnectTimeout("no route"), True),
        (httpx.PoolTimeout("busy"), True),
        (named("ConnectTimeoutError", "TimeoutError"), True),
        (httpx.ReadTimeout("slow"), False),
        (openai.APITimeoutError(REQUEST), False),
        (TimeoutError(), False),
    ],
)
def test_what_never_left_is_told_from_what_was_not_answered(
    error: Exception, expected: bool
) -> None:
    """The error itself or what it was raised from, however deep."""
    outer, ring = openai.APITimeoutError(REQUEST), ValueError("wrapped")
    outer.__cause__, ring.__cause__ = ring, error
    assert expected is was_unsent(error)
    assert expected is was_unsent(outer)
    error.__cause__ = outer  # a ring of causes has an end too
    assert expected is was_unsent(outer)


NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": formatdate(NOW + 30, usegmt=True)}, 30.0),
        ({"Retry-After": formatdate(NOW + 30)}, 30.0),
        ({"Retry-After": formatdate(NOW - 30, usegmt=True)}, 0.0),
        ({"Retry-After": "86400"}, 86400.0),
        ({"Retry-After": "2", "retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "soon", "Retry-After": "2"}, 2.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "1e999"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "Wed, 99 Foo 2023 99:99:99 GMT"}, None),
        ({"Retry-After": "Wed, 21 Oct 99999 07:28:00 GMT"}, None),
        ({}, None),
    ],
)
def test_how_long_a_server_asks_to_wait(headers: dict[str, str], expected: float | None) -> None:
    """Seconds, a date, milliseconds; what cannot be read is no wish."""
    response = httpx.Response(429, headers=headers, request=REQUEST)
    error = openai.RateLimitError("slow down", response=response, body=None)
    assert expected == retry_after(error, NOW)


def test_the_wish_is_found_wherever_the_library_keeps_it() -> None:
    """In the response, in the error, in botocore's dictionaries, in the error's cause."""
    wrapped = ValueError("wrapped")
    wrapped.__cause__ = refused(429, None, **{"Retry-After": "3"})
    found = [
        retry_after(named("ApiError", headers={"Retry-After": "3"})),
        retry_after(botocore("ThrottlingException", 429, **{"retry-after": "3"})),
        retry_after(wrapped),
    ]
    assert [3.0, 3.0, 3.0] == found
    assert retry_after(ConnectionError("reset")) is None
    assert retry_after(None) is None


def test_a_date_is_held_against_the_time_now() -> None:
    """Without a time given it is that of the machine."""
    asked = retry_after(refused(503, None, **{"Retry-After": formatdate(time.time() + 3600)}))
    assert asked is not None
    assert 3500 < asked <= 3600
