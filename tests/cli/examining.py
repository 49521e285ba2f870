"""What the doctor's tests share: ways to run it, and servers that play a part."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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


@contextmanager
def answering(status: int, answer: Callable[[str], Any]) -> Iterator[str]:
    """A server that says one thing to every call, in one piece of JSON; it is given the key."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            data = json.dumps(answer(self.headers["Authorization"])).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Write nothing to stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_address[1]}/v1"
        finally:
            http.shutdown()
            thread.join()
