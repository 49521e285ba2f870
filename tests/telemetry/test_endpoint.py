"""The endpoint for Prometheus, over real HTTP on loopback: what it shows, to whom, and where."""

from __future__ import annotations

import errno
import http.client
import logging
import socket
import threading
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stopping_core import Request
from stopping_core.telemetry import Telemetry, serve
from tests.telemetry.asking import Meeting, go, samples, scrape

TOKEN = "dG9rZW4tZm9yLXRlc3Rz"


def refused(url: str, authorization: str | None) -> tuple[int, str | None, str]:
    """Status, challenge and body of what the endpoint says to a header."""
    host, port = url.removeprefix("http://").removesuffix("/metrics").rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    headers = {} if authorization is None else {"Authorization": authorization}
    connection.request("GET", "/metrics", headers=headers)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, response.getheader("WWW-Authenticate"), body


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_is_measured_is_shown(asynchronous: bool) -> None:
    """By the names that Prometheus gives it, the numbers of the request."""
    with serve(port=0) as endpoint:
        go(Telemetry(endpoint.meter_provider), asynchronous=asynchronous, seconds_per_token=0.5)
        shown = {
            name: value
            for name, labels, value in samples(scrape(endpoint.url))
            if labels.get("stopping_tenant") == "acme" and "le" not in labels
        }
    assert {
        "stopping_requests_total": 1.0,
        "stopping_tokens_avoided_total": 124.0,
        "stopping_attempts_count": 1.0,
        "gen_ai_client_operation_duration_seconds_sum": 2.0,
        "gen_ai_client_token_usage_sum": 4.0,
    }.items() <= shown.items()


def test_it_listens_on_loopback_and_nowhere_else() -> None:
    """The address is bound, not only advertised."""
    with serve(port=0) as endpoint:
        assert f"http://127.0.0.1:{endpoint.port}/metrics" == endpoint.url
        assert "127.0.0.1" == endpoint._server.socket.getsockname()[0]
        assert 0 < endpoint.port < 65536


def test_it_serves_six_as_well() -> None:
    """Loopback has two addresses."""
    with serve(port=0, host="::1") as endpoint:
        assert f"http://[::1]:{endpoint.port}/metrics" == endpoint.url
        assert "target_info" not in scrape(endpoint.url)


def test_everybody_is_warned_of() -> None:
    """Only where neither address nor token keeps anybody out."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]  # on purpose
    logger = logging.getLogger("stopping_core.telemetry.prometheus")
    logger.addHandler(handler)
    try:
        for host, token in (("127.0.0.1", None), ("0.0.0.0", TOKEN), ("0.0.0.0", None)):
            serve(port=0, host=host, token=token).close()
    finally:
        logger.removeHandler(handler)
    assert ["metrics are served on 0.0.0.0 to everybody who reaches it: no token"] == said


@pytest.mark.parametrize(
    ("authorization", "challenge"),
    [
        (None, "Bearer"),
        ("", "Bearer"),
        ("Bearer", 'Bearer error="invalid_token"'),
        ("Bearer wrong", 'Bearer error="invalid_token"'),
        (f"Bearer {TOKEN}x", 'Bearer error="invalid_token"'),
        (f"Bearer {TOKEN[:-1]}", 'Bearer error="invalid_token"'),
        (f"Basic {TOKEN}", 'Bearer error="invalid_token"'),
        (TOKEN, 'Bearer error="invalid_token"'),
        ("Bearer \xe9\xff", 'Bearer error="invalid_token"'),
    ],
)
def test_without_the_token_nothing_is_shown(authorization: str | None, challenge: str) -> None:
    """The answer is 401, what is asked for, and no metric."""
    with serve(port=0, token=TOKEN) as endpoint:
        go(Telemetry(endpoint.meter_provider))
        assert (401, challenge, "a bearer token is needed\n") == refused(
            endpoint.url, authorization
        )


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_with_the_token_all_is_shown(scheme: str) -> None:
    """The scheme may be written in any case."""
    with serve(port=0, token=TOKEN) as endpoint:
        go(Telemetry(endpoint.meter_provider))
        status, challenge, body = refused(endpoint.url, f"{scheme} {TOKEN}")
        assert (200, None) == (status, challenge)
        assert "stopping_requests_total" in body
        assert TOKEN not in body


def test_the_token_in_the_address_does_not_count() -> None:
    """Addresses end up in logs."""
    with serve(port=0, token=TOKEN) as endpoint:
        with pytest.raises(urllib.error.HTTPError) as caught:
            scrape(f"{endpoint.url}?token={TOKEN}")
        assert 401 == caught.value.code
        caught.value.close()


def test_the_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the library's own comparison, on every request that brings anything."""
    seen: list[tuple[bytes, bytes]] = []

    def compare(given: bytes, expected: bytes) -> bool:
        seen.append((given, expected))
        return given == expected

    monkeypatch.setattr("stopping_core.telemetry.prometheus.hmac.compare_digest", compare)
    with serve(port=0, token=TOKEN) as endpoint:
        refused(endpoint.url, "Bearer wrong")
        scrape(endpoint.url, TOKEN)
    assert [(b"wrong", TOKEN.encode()), (TOKEN.encode(), TOKEN.encode())] == seen


TENANTS = [
    'a"b',
    "a\nb",
    "a\\b",
    "a\\nb",
    'x"} 1\nforged{y="',
    "\u2028\r\x00\U0001f600",
    "half \ud800",
    "<script>alert(1)</script>",
]


def test_label_values_cannot_forge_a_line() -> None:
    """Quotes, newlines and backslashes come back as they went in, through Prometheus' parser."""
    with serve(port=0) as endpoint:
        telemetry = Telemetry(endpoint.meter_provider, segments=("tenant",))
        for tenant in TENANTS:
            go(telemetry, request=Request(metadata={"tenant": tenant}))
        found = samples(scrape(endpoint.url))
    expected = {tenant.encode("utf-8", "replace").decode() for tenant in TENANTS}
    assert expected == {
        labels["stopping_tenant"] for name, labels, _ in found if name == "stopping_requests_total"
    }
    assert set() == {name for name, _, _ in found if name.startswith("forged")}


def test_scrapes_at_one_time_are_whole() -> None:
    """Each has every sample once."""
    with serve(port=0) as endpoint:
        go(Telemetry(endpoint.meter_provider))
        with ThreadPoolExecutor(8) as pool:
            texts = list(pool.map(scrape, [endpoint.url] * 40))
    keys = [(name, tuple(sorted(labels.items()))) for name, labels, _ in samples(texts[0])]
    assert len(keys) == len(set(keys))
    assert 1 == len(set(texts))


def test_scrapes_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that translate at one time would now and then take each other's metrics."""
    meeting = Meeting()

    def application(registry: object) -> Any:
        def answer(environ: object, start_response: Any) -> list[bytes]:
            meeting.wait()
            start_response("200 OK", [])
            return [b"whole"]

        return answer

    monkeypatch.setattr("prometheus_client.make_wsgi_app", application)
    with serve(port=0) as endpoint, ThreadPoolExecutor(2) as pool:
        assert ["whole"] * 2 == list(pool.map(scrape, [endpoint.url] * 2))
    assert meeting.met is False


def test_a_client_that_says_nothing_keeps_nobody_waiting() -> None:
    """Another one is served meanwhile."""
    with serve(port=0) as endpoint, socket.create_connection(("127.0.0.1", endpoint.port)):
        assert "" == scrape(endpoint.url)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_only_reading_is_answered(method: str) -> None:
    """Nothing can be changed through it."""
    with serve(port=0) as endpoint:
        connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=10)
        connection.request(method, "/metrics")
        assert 405 == connection.getresponse().status
        connection.close()


def test_closed_it_is_gone() -> None:
    """The port is free, the thread has ended, and a second close does nothing."""
    endpoint = serve(port=0)
    go(Telemetry(endpoint.meter_provider))
    endpoint.close()
    endpoint.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", endpoint.port), timeout=5)
    assert "stopping-prometheus" not in {thread.name for thread in threading.enumerate()}
    with serve(port=endpoint.port) as again:
        assert endpoint.port == again.port


def test_requests_go_on_after_the_close() -> None:
    """They are not measured any more."""
    with serve(port=0) as endpoint:
        telemetry = Telemetry(endpoint.meter_provider)
    assert "It is Paris." == go(telemetry).text


def test_two_endpoints_show_each_its_own() -> None:
    """Nothing of the process is shared between them."""
    with serve(port=0) as one, serve(port=0) as other:
        go(Telemetry(one.meter_provider))
        assert "stopping_requests_total" in scrape(one.url)
        assert "" == scrape(other.url)


def test_a_taken_port_is_an_error() -> None:
    """It is not moved to another one."""
    with serve(port=0) as endpoint, pytest.raises(OSError, match="in use") as caught:
        serve(port=endpoint.port)
    assert errno.EADDRINUSE == caught.value.errno


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"port": -1}, r"port must be in \[0, 65535\], got -1"),
        ({"port": 65536}, r"port must be in \[0, 65535\], got 65536"),
        ({"port": "80"}, r"port must be in \[0, 65535\], got '80'"),
        ({"port": 0, "host": ""}, "host must be an address or a name, got ''"),
    ],
)
def test_settings_out_of_their_interval_are_refused(settings: Any, message: str) -> None:
    """The error names argument, interval and value."""
    with pytest.raises(ValueError, match=message):
        serve(**settings)


@pytest.mark.parametrize("token", ["", "two words", "line\n", "caf\u00e9", "=", 'quo"te'])
def test_a_token_that_no_header_can_bring_is_refused(token: str) -> None:
    """An empty one would let nobody in or everybody; the message does not quote it."""
    with pytest.raises(ValueError, match="token must be letters") as caught:
        serve(port=0, token=token)
    assert not token or token not in str(caught.value).removeprefix("token must be").split()
