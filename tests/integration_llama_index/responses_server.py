"""A loopback server that speaks OpenAI's Responses protocol, as far as the tests need it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from llama_index.llms.openai import OpenAIResponses

End = Literal["completed", "incomplete", "failed", "error", "closed"]

REASONING = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "Capitals."}],
    "encrypted_content": "sealed",
}


@contextmanager
def responses_llm(*calls: tuple[list[str], End]) -> Iterator[tuple[OpenAIResponses, list[Any]]]:
    """An LLM that asks such a server, and the bodies of its requests.

    Args:
        calls: Of each call the tokens and how the stream ends; the last serves all later ones.
    """
    bodies: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            """Be silent."""

        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            tokens, end = calls[min(len(bodies), len(calls)) - 1]
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            try:
                for number, event in enumerate(_events(tokens, end)):
                    data = json.dumps({**event, "sequence_number": number})
                    self.wfile.write(f"event: {event['type']}\ndata: {data}\n\n".encode())
            except ConnectionError:
                return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        yield OpenAIResponses(model="gpt-4o-mini", api_key="x", api_base=url, max_retries=0), bodies
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _events(tokens: list[str], end: End) -> Iterator[dict[str, Any]]:
    yield {"type": "response.created", "response": _response("in_progress")}
    yield {"type": "response.output_item.done", "output_index": 0, "item": REASONING}
    place = {"item_id": "m1", "output_index": 1, "content_index": 0}
    for token in tokens:
        yield {"type": "response.output_text.delta", **place, "delta": token, "logprobs": []}
    said = {"type": "output_text", "text": "".join(tokens), "annotations": []}
    message = {"type": "message", "id": "m1", "role": "assistant", "status": "completed"}
    output = [REASONING, {**message, "content": [said]}]
    failure = {"code": "server_error", "message": "scripted failure"}
    if end == "completed":
        yield {"type": "response.completed", "response": _response(end, output=output)}
    elif end == "incomplete":
        details = {"reason": "max_output_tokens"}
        response = _response(end, output=output, incomplete_details=details)
        yield {"type": "response.incomplete", "response": response}
    elif end == "failed":
        yield {"type": "response.failed", "response": _response(end, error=failure)}
    elif end == "error":
        yield {"type": "error", **failure, "param": None}


def _response(status: str, **fields: Any) -> dict[str, Any]:
    usage = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 17,
    }
    return {
        "id": "r1",
        "object": "response",
        "created_at": 0,
        "status": status,
        "model": "m",
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage if "output" in fields else None,
        **fields,
    }
