"""What the doctor's tests share: ways to run it, and servers that play a part."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from typing import Any, TypeAlias, TypeVar

from typer.testing import CliRunner

from stopping_core.cli.app import app
from stopping_core.cli.doctor.endpoint import Endpoint
from stopping_core.testing import words
from tests.support.sse_server import CountingServer, Script

T = TypeVar("T")
Scripted: TypeAlias = Callable[[Mapping[str, Any]], Script]

KEY = "sk-secret-key"
TOKENS = words(
    "The river flows from the high snow of the northern hills down through wide green meadows and "
    "past the old mill where the children of the village swim on long summer evenings until the "
    "bell calls them home. " * 8
)


def doctor(*arguments: str | float) -> tuple[int, str]:
    """Run the command; return its exit code and all it printed."""
    result = CliRunner().invoke(app, ["doctor", *(str(a) for a in arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def diagnosis(base_url: str, model: str, *arguments: str | float) -> dict[str, Any]:
    """Run the command for JSON, and return that."""
    code, printed = doctor("--base-url", base_url, "--model", model, "--json", *arguments)
    assert code == 0, printed
    found: dict[str, Any] = json.loads(printed)
    return found


def verdicts(found: dict[str, Any]) -> dict[str, str]:
    return {finding["name"]: finding["verdict"] for finding in found["findings"]}


def probe(server: CountingServer, ask: Callable[[Endpoint], Awaitable[T]], **settings: Any) -> T:
    """Run one probe on a server."""

    async def run() -> T:
        given = {"timeout": 10.0, "token_seconds": 0.004, **settings}
        async with Endpoint(server.base_url, server.model, KEY, **given) as endpoint:
            return await ask(endpoint)

    return asyncio.run(run())


def teller(*, told: bool = False, prefill: bool = True, **settings: Any) -> Scripted:
    """A model that goes on where its own message ends: only if it is told to, or always."""

    def script(body: Mapping[str, Any]) -> Script:
        last = body["messages"][-1]
        goes_on = (
            prefill
            and last["role"] == "assistant"
            and (body.get("continue_final_message") or not told)
        )
        rest = TOKENS[len(words(last["content"])) :] if goes_on else TOKENS
        return Script(rest, **settings)

    return script


def refusing(keyword: str) -> Scripted:
    """A model that answers 400 where a keyword is among the call's."""
    return lambda body: Script(status=400) if keyword in body else Script(TOKENS)


def limits(server: CountingServer) -> list[int]:
    """The limits on tokens that a server was sent."""
    return [body.get("max_tokens") or body["max_completion_tokens"] for body in server.requests]


@contextmanager
def answering(status: int, answer: Callable[[str], Any]) -> Iterator[str]:
    """A server that says one thing to every call, in one piece of JSON; it is given the key."""

    class Handler(_Handler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.say(status, answer(self.headers["Authorization"]))

    with _served(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url


@contextmanager
def one_at_a_time(
    *, deaf: bool = False, then: int = 200, wait: float = 0.0
) -> Iterator[tuple[str, list[int]]]:
    """A server without counters that answers one call after the other; its URL and the limits sent.

    Args:
        deaf: Whether it writes on when the client has hung up.
        then: HTTP status of the call that follows a hang-up.
        wait: Seconds before the first token.
    """
    limits: list[int] = []
    left: list[bool] = []

    class Handler(_Handler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            limits.append(body.get("max_tokens") or body["max_completion_tokens"])
            if left and left.pop() and then != 200:
                self.say(then, {"error": {"message": "too much"}})
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            time.sleep(wait)
            gone = False
            for token in TOKENS[: limits[-1]]:
                gone = self.event({"delta": {"content": token}}) or gone
                if gone and not deaf:
                    break
                time.sleep(0.004)
            if self.event({"delta": {}, "finish_reason": "length"}) or gone:
                left.append(True)

        def event(self, choice: Mapping[str, Any]) -> bool:
            """Send one; return whether the client is gone."""
            data = json.dumps({"choices": [{"index": 0, **choice}]})
            try:
                self.wfile.write(f"data: {data}\n\n".encode())
            except OSError:
                return True
            return False

    with _served(HTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url, limits


class _Handler(BaseHTTPRequestHandler):
    def say(self, status: int, answer: Any) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing to stderr."""


@contextmanager
def _served(server: HTTPServer) -> Iterator[str]:
    with server as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_address[1]}/v1"
        finally:
            http.shutdown()
            thread.join()
