"""A loopback server that speaks the OpenAI protocol, counts what it wrote and notes hang-ups.

It stands for a user's endpoint where the test is about transport: how many tokens the server wrote
after the client had decided to stop, whether the client really closed the connection, and what
becomes of an answer when the server misbehaves. The text is scripted, so that the decision falls at
a known token. It also runs as a process of its own::

    python -m tests.support.sse_server --delay 0.01 --text "Paris is the capital."

prints its URL, serves until its standard input ends, and tells its counts at ``GET /stats``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
import threading
import time
from types import TracebackType
from typing import Any, Self

from stopping_core.testing import words
from tests.support.sse_connection import Connection
from tests.support.sse_script import (
    FIRST_BYTE,
    MODEL,
    PROMPT_TOKENS,
    Drop,
    Fault,
    Say,
    Script,
    Scripts,
    ServedCall,
    Stall,
    patient,
)

__all__ = [
    "FIRST_BYTE",
    "MODEL",
    "PROMPT_TOKENS",
    "CountingServer",
    "Drop",
    "Fault",
    "Say",
    "Script",
    "ServedCall",
    "Stall",
    "patient",
]


class CountingServer:
    """Serves scripts over ``/v1/chat/completions`` and ``/v1/completions``, streamed or not.

    Calls take the scripts in the order in which they arrive; the last script serves all later ones.
    A function that makes a script from the request's body may stand in their place. The server
    obeys ``max_tokens`` and ``max_completion_tokens``. While it waits between two tokens it watches
    the connection, so that a hang-up is noted at once and no token is counted after it.

    ``GET /v1/models`` names the model; ``/metrics`` tells the tokens generated and the calls that
    run, as vLLM does; ``/stats`` tells all counts as JSON.

    Args:
        scripts: One script a call, or a function.
        delay: Seconds before each token, >= 0.
        keep_alive: Whether connections are kept for a next call. If not, the client has to close
            each after its call, and :meth:`still_open` counts those that it forgets.

    Examples:
        >>> with CountingServer([["Hello", " there"]], delay=0) as server:
        ...     server.base_url.startswith("http://127.0.0.1:")
        True
    """

    def __init__(self, scripts: Scripts, *, delay: float = 0.01, keep_alive: bool = True) -> None:
        if delay < 0:
            raise ValueError(f"delay must be >= 0, got {delay}")
        self.delay = delay
        self.keep_alive = keep_alive
        self.calls: list[ServedCall] = []
        self._scripts = scripts
        self._connections: set[Connection] = set()
        self._port: int | None = None
        self._running = 0
        self._peak = 0

    def __enter__(self) -> Self:
        listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self._port = listening.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        listener = self._loop.create_server(lambda: Connection(self), sock=listening)
        self._listener = asyncio.run_coroutine_threadsafe(listener, self._loop).result(timeout=5)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(timeout=5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self._loop.close()

    @property
    def base_url(self) -> str:
        """The address that an OpenAI client takes."""
        if self._port is None:
            raise RuntimeError("the server is not running")
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def model(self) -> str:
        """The name under which it serves."""
        return MODEL

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The JSON bodies of the calls, in order of arrival."""
        return [call.body for call in self.calls]

    @property
    def sent(self) -> int:
        """Tokens written in all calls, reasoning included, once no call is open any more."""
        self.wait()
        return sum(call.sent for call in self.calls)

    @property
    def sent_per_call(self) -> list[int]:
        """Tokens written call by call, once no call is open any more."""
        self.wait()
        return [call.sent for call in self.calls]

    @property
    def disconnected(self) -> int:
        """How many calls the client hung up on, once no call is open any more."""
        self.wait()
        return sum(call.disconnected for call in self.calls)

    def wait(self, timeout: float = 10.0) -> None:
        """Wait until every call has ended: the script is out, or the client hung up."""
        deadline = time.monotonic() + timeout
        for call in list(self.calls):
            if not call.done.wait(max(0.0, deadline - time.monotonic())):
                raise TimeoutError(f"a call is still open after {timeout} s")

    def still_open(self, within: float = 2.0) -> int:
        """Connections that the client has not closed, once it has had ``within`` seconds to."""
        deadline = time.monotonic() + within
        while self._connections and time.monotonic() < deadline:
            time.sleep(0.005)
        return len(self._connections)

    def stats(self) -> dict[str, int]:
        """What has been counted so far.

        Connections ``open``; ``calls``, those ``running``, the most that did at a time (``peak``),
        those that the client hung up on (``disconnected``); tokens ``sent``.
        """
        return {
            "open": len(self._connections),
            "calls": len(self.calls),
            "running": self._running,
            "peak": self._peak,
            "sent": sum(call.sent for call in self.calls),
            "disconnected": sum(call.disconnected for call in self.calls),
        }

    # -- what a connection asks

    def opened(self, connection: Connection) -> None:
        self._connections.add(connection)

    def closed(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def begin(self, call: ServedCall) -> Script:
        self.calls.append(call)
        self._running += 1
        self._peak = max(self._peak, self._running)
        if callable(self._scripts):
            return self._scripts(call.body)
        script = self._scripts[min(len(self.calls), len(self._scripts)) - 1]
        return script if isinstance(script, Script) else Script(script)

    def end(self, call: ServedCall) -> None:
        self._running -= 1
        call.done.set()

    def page(self, path: str) -> tuple[int, str, bytes]:
        stats = self.stats()
        if path == "/metrics":
            counts = {
                "generation_tokens_total": ("counter", stats["sent"]),
                "num_requests_running": ("gauge", stats["running"]),
            }
            lines = [
                f'# TYPE vllm:{name} {kind}\nvllm:{name}{{model_name="{MODEL}"}} {value}.0\n'
                for name, (kind, value) in counts.items()
            ]
            return 200, "text/plain; version=0.0.4", "".join(lines).encode()
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "tests"}
        stats["open"] -= 1  # the one that asks
        pages = {"/stats": stats, "/v1/models": {"object": "list", "data": [model]}}
        found = pages.get(path, {"error": {"message": f"no such page: {path}"}})
        return 200 if path in pages else 404, "application/json", json.dumps(found).encode()

    async def _close(self) -> None:
        self._listener.close()
        tasks = [connection.abort() for connection in self._connections]
        await asyncio.gather(*tasks, return_exceptions=True)


def main() -> None:
    """Serve one text to every call, until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.sse_server")
    parser.add_argument("--text", default="Paris is the capital. It is the largest city as well.")
    parser.add_argument("--delay", type=float, default=0.01, help="seconds before each token")
    parser.add_argument("--close", action="store_true", help="keep no connection for a next call")
    given = parser.parse_args()
    with CountingServer(
        [words(given.text)], delay=given.delay, keep_alive=not given.close
    ) as server:
        print(server.base_url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
