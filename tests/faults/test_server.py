"""The misbehaving server does what the fault tests take it to do, seen from a bare socket."""

from __future__ import annotations

import json
import socket
import urllib.request
from email.message import Message
from urllib.error import HTTPError

import pytest

from tests.support.sse_server import FIRST_BYTE, CountingServer, Drop, Say, Script, Stall

TOKENS = ["Z\u00fcrich", " liegt", "."]


def opened(server: CountingServer) -> socket.socket:
    """Ask for a stream, and leave the reading to the test."""
    host, port = server.base_url.removeprefix("http://").removesuffix("/v1").split(":")
    connection = socket.create_connection((host, int(port)), timeout=5)
    body = json.dumps({"stream": True, "messages": []}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def reads(server: CountingServer) -> list[bytes]:
    """What each read of the whole stream gives, until the server closes."""
    with opened(server) as connection:
        return list(iter(lambda: connection.recv(65536), b""))


def test_a_character_is_cut_between_two_writes() -> None:
    """Neither half is UTF-8 by itself, together they are."""
    with CountingServer([Script(TOKENS, split=True)], delay=0.01, keep_alive=False) as server:
        pieces = reads(server)
    assert 1 == sum(piece.endswith(b"Z\xc3\r\n") for piece in pieces)
    assert b"Z\xc3\r\n" in b"".join(pieces)
    assert "\u00fc".encode()[1:] in b"".join(pieces)


def test_a_connection_breaks_inside_a_character() -> None:
    """The first byte of it is the last that comes, and its token does not count."""
    with CountingServer([Script(TOKENS, faults={0: Drop(inside_character=True)})]) as server:
        assert b"".join(reads(server)).endswith(b"Z\xc3\r\n")
        assert 0 == server.sent


def test_a_drop_is_a_close_or_a_reset() -> None:
    """The one ends the stream without its last chunk, the other is an error of the socket."""
    with CountingServer([Script(TOKENS, faults={2: Drop()})]) as server:
        assert not b"".join(reads(server)).endswith(b"0\r\n\r\n")
    with CountingServer([Script(TOKENS, faults={2: Drop(reset=True)})]) as server:
        with pytest.raises(ConnectionResetError):
            reads(server)
        assert [2, 0] == [server.sent, server.still_open()]


@pytest.mark.parametrize(("at", "said"), [(FIRST_BYTE, 0), (0, 1), (2, 3)])
def test_a_stall_lasts_until_the_client_goes(at: int, said: int) -> None:
    """What comes before it is sent; then nothing is, and a hang-up ends it at once."""
    script = Script(TOKENS, faults={at: Stall()})
    with CountingServer([script], delay=0, keep_alive=False) as server:
        with opened(server) as connection:
            connection.settimeout(0.2)
            received: list[bytes] = []
            with pytest.raises(TimeoutError):
                received.extend(iter(lambda: connection.recv(65536), b""))
            assert 1 == server.still_open(within=0)
        assert said == b"".join(received).count(b"data: ")
        assert [max(0, at), 1, 0] == [server.sent, server.disconnected, server.still_open()]


def test_events_out_of_turn() -> None:
    """Broken JSON goes out as it is, an error by itself, anything else as a chunk."""
    faults = {0: Say(b"{"), 1: Say({"error": {"code": 1}}), 2: Say({"choices": []})}
    with CountingServer([Script(TOKENS, faults=faults)], delay=0, keep_alive=False) as server:
        received = b"".join(reads(server))
    assert b"data: {\n\n" in received
    assert b'data: {"error": {"code": 1}}\n\n' in received
    assert b'"model": "scripted", "choices": []}\n\n' in received


def test_a_deaf_server_generates_to_the_end() -> None:
    """It counts what it would bill, and knows afterwards that nobody was there."""
    with CountingServer([Script(TOKENS * 4, deaf=True)], delay=0.005) as server:
        with opened(server) as connection:
            assert connection.recv(1)
        assert [len(TOKENS) * 4, 1] == [server.sent, server.disconnected]


def test_the_pages() -> None:
    """The model's name, vLLM's metrics, the counts, and the headers of a failure."""
    with CountingServer(
        [Script(TOKENS), Script(status=429, headers={"Retry-After": "7"})]
    ) as server:
        with opened(server) as connection:
            assert connection.recv(1)
        server.wait()
        root = server.base_url.removesuffix("/v1")

        def get(path: str) -> str:
            with urllib.request.urlopen(root + path) as page:
                return str(page.read().decode())

        assert "scripted" == json.loads(get("/v1/models"))["data"][0]["id"]
        assert f'vllm:generation_tokens_total{{model_name="scripted"}} {server.sent}.0' in get(
            "/metrics"
        )
        assert 'vllm:num_requests_running{model_name="scripted"} 0.0' in get("/metrics")
        assert 1 == json.loads(get("/stats"))["calls"]
        with pytest.raises(HTTPError) as caught:
            urllib.request.urlopen(f"{root}/v1/chat/completions", data=b"{}")
        headers: Message = caught.value.headers
        assert [429, "7"] == [caught.value.code, headers["Retry-After"]]
