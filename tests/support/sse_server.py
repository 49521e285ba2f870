"""A loopback server that speaks the OpenAI protocol, counts what it wrote and notes hang-ups.

It stands for a user's endpoint where the test is about transport: how many tokens the server wrote
after the client had decided to stop, and whether the client really closed the connection. The text
is scripted, so that the decision falls at a known token.
"""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, TypeAlias

MODEL = "scripted"
PROMPT_TOKENS = 10


@dataclass(frozen=True, slots=True)
class Script:
    """What the server says in one call.

    Args:
        tokens: The answer, one stream chunk a token.
        finish_reason: Said after the last token; ``length`` where ``max_tokens`` cut it short.
        reasoning: Tokens sent as ``reasoning_content`` before the answer.
        logprobs: One logprob a token, sent where the client asks for them. None sends none.
        tool: Name of a function; the tokens are then the arguments of a call to it.
        per_chunk: Tokens in one stream chunk, >= 1.
        status: HTTP status; other than 200 the call fails with it before the first token.
        drop_after: Break the connection after so many tokens.
    """

    tokens: Sequence[str] = ()
    finish_reason: str = "stop"
    reasoning: Sequence[str] = ()
    logprobs: Sequence[float] | None = None
    tool: str = ""
    per_chunk: int = 1
    status: int = 200
    drop_after: int | None = None


Scripts: TypeAlias = Sequence[Script | Sequence[str]] | Callable[[Mapping[str, Any]], Script]


@dataclass(slots=True)
class ServedCall:
    """What became of one call: its JSON body, the tokens written, how it ended."""

    body: dict[str, Any]
    path: str
    headers: dict[str, str]
    sent: int = 0
    disconnected: bool = False
    done: threading.Event = field(default_factory=threading.Event)


class CountingServer:
    """Serves scripts over ``/v1/chat/completions`` and ``/v1/completions``, streamed or not.

    Calls take the scripts in the order in which they arrive; the last script serves all later ones.
    A function that makes a script from the request's body may stand in their place. The server
    obeys ``max_tokens`` and ``max_completion_tokens``. While it waits between two tokens it watches
    the connection, so that a hang-up is noted at once and no token is counted after it.

    Args:
        scripts: One script a call, or a function.
        delay: Seconds before each token, >= 0.

    Examples:
        >>> with CountingServer([["Hello", " there"]], delay=0) as server:
        ...     server.base_url.startswith("http://127.0.0.1:")
        True
    """

    def __init__(self, scripts: Scripts, *, delay: float = 0.01) -> None:
        if delay < 0:
            raise ValueError(f"delay must be >= 0, got {delay}")
        self.delay = delay
        self.calls: list[ServedCall] = []
        self._scripts = scripts
        self._lock = threading.Lock()
        self._http: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"owner": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self._http.block_on_close = False
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._http is not None and self._thread is not None:
            self._http.shutdown()
            self._http.server_close()
            self._thread.join(timeout=5)

    @property
    def base_url(self) -> str:
        """The address that an OpenAI client takes."""
        if self._http is None:
            raise RuntimeError("the server is not running")
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

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

    def _begin(self, call: ServedCall) -> Script:
        with self._lock:
            self.calls.append(call)
            number = len(self.calls)
        if callable(self._scripts):
            return self._scripts(call.body)
        script = self._scripts[min(number, len(self._scripts)) - 1]
        return script if isinstance(script, Script) else Script(script)


class _HungUp(Exception):
    pass


class _Handler(BaseHTTPRequestHandler):
    owner: CountingServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing to stderr."""

    def do_POST(self) -> None:
        """Serve one call, and note how it ended."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        call = ServedCall(body, self.path, dict(self.headers.items()))
        try:
            script = self.owner._begin(call)
            if script.status != 200:
                self._json({"error": {"message": "scripted failure"}}, script.status)
            elif body.get("stream"):
                self._stream(call, script)
            else:
                self._whole(call, script)
        except (_HungUp, ConnectionError):
            call.disconnected = True
            self.close_connection = True
        finally:
            call.done.set()

    def _stream(self, call: ServedCall, script: Script) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        chat = _is_chat(call)
        if chat:
            self._event(call, _chunk(call, {"role": "assistant", "content": ""}))
        for channel, tokens, logprobs in _chunks(call, script):
            for _ in tokens:
                self._pause()
            if script.drop_after is not None and call.sent >= script.drop_after:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            delta = _delta(script, channel, "".join(tokens), first=call.sent == 0)
            marks = _logprobs(call, tokens, logprobs)
            self._event(call, _chunk(call, delta, logprobs=marks))
            call.sent += len(tokens)
        self._event(call, _chunk(call, {}, finish_reason=_finish(call, script)))
        if (call.body.get("stream_options") or {}).get("include_usage"):
            self._event(call, {**_chunk(call, {}), "choices": [], "usage": _usage(call)})
        self._write(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _whole(self, call: ServedCall, script: Script) -> None:
        content = {"answer": "", "reasoning": ""}
        for channel, tokens, _ in _chunks(call, script):
            for _ in tokens:
                self._pause()
            content[channel] += "".join(tokens)
            call.sent += len(tokens)
        message: dict[str, Any] = {"role": "assistant", "content": content["answer"]}
        if content["reasoning"]:
            message["reasoning_content"] = content["reasoning"]
        if script.tool:
            delta = _delta(script, "answer", content["answer"], first=True)
            message = {"role": "assistant", "content": None, **delta}
        choice = {"index": 0, "finish_reason": _finish(call, script)}
        choice |= {"message": message} if _is_chat(call) else {"text": content["answer"]}
        self._json({**_chunk(call, {}), "choices": [choice], "usage": _usage(call)}, 200)

    def _pause(self) -> None:
        """Wait out the delay; a connection that turns readable while it waits was closed."""
        deadline = time.monotonic() + self.owner.delay
        while True:
            left = max(0.0, deadline - time.monotonic())
            readable, _, _ = select.select([self.connection], [], [], left)
            if not readable:
                return
            if not self.connection.recv(1, socket.MSG_PEEK):
                raise _HungUp
            time.sleep(left)  # pipelined bytes of a next request: not a hang-up
            return

    def _event(self, call: ServedCall, data: Mapping[str, Any]) -> None:
        self._write(b"data: " + json.dumps(data).encode() + b"\n\n")

    def _write(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _json(self, data: Mapping[str, Any], status: int) -> None:
        encoded = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)


def _is_chat(call: ServedCall) -> bool:
    return call.path.endswith("/chat/completions")


def _chunks(
    call: ServedCall, script: Script
) -> Iterator[tuple[str, list[str], list[float] | None]]:
    """The script in stream chunks, as far as the budget goes: channel, tokens, logprobs."""
    left = call.body.get("max_completion_tokens") or call.body.get("max_tokens")
    for channel, tokens in (("reasoning", script.reasoning), ("answer", script.tokens)):
        size = script.per_chunk
        for start in range(0, len(tokens), size):
            part = list(tokens[start : start + size])
            if left is not None:
                part = part[:left]
                left -= len(part)
            logprobs = script.logprobs if channel == "answer" else None
            if part:
                yield channel, part, list(logprobs[start : start + size]) if logprobs else None


def _finish(call: ServedCall, script: Script) -> str:
    whole = len(script.reasoning) + len(script.tokens)
    return script.finish_reason if call.sent >= whole else "length"


def _delta(script: Script, channel: str, text: str, *, first: bool) -> dict[str, Any]:
    if channel == "reasoning":
        return {"reasoning_content": text}
    if not script.tool:
        return {"content": text}
    named = {"id": "call_1", "type": "function"} if first else {}
    function = {"arguments": text, **({"name": script.tool} if first else {})}
    return {"tool_calls": [{"index": 0, **named, "function": function}]}


def _logprobs(
    call: ServedCall, tokens: Sequence[str], values: Sequence[float] | None
) -> dict[str, Any] | None:
    if values is None or not call.body.get("logprobs"):
        return None
    top = int(call.body.get("top_logprobs") or 0)
    if not _is_chat(call):
        return {"tokens": list(tokens), "token_logprobs": list(values)}
    return {
        "content": [
            {
                "token": token,
                "logprob": value,
                "bytes": list(token.encode()),
                "top_logprobs": [
                    {"token": f"{token}{k}", "logprob": value - k, "bytes": None}
                    for k in range(top)
                ],
            }
            for token, value in zip(tokens, values, strict=True)
        ]
    }


def _chunk(
    call: ServedCall,
    delta: Mapping[str, Any],
    *,
    finish_reason: str | None = None,
    logprobs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish_reason, "logprobs": logprobs}
    if not _is_chat(call):
        kind, choice["text"] = "text_completion", delta.get("content", "")
    else:
        kind = "chat.completion.chunk" if call.body.get("stream") else "chat.completion"
        choice["delta"] = dict(delta)
    return {"id": "call-1", "object": kind, "created": 0, "model": MODEL, "choices": [choice]}


def _usage(call: ServedCall) -> dict[str, int]:
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": call.sent,
        "total_tokens": PROMPT_TOKENS + call.sent,
    }
