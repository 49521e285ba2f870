"""One connection of the scripted server: HTTP by hand, so that it can be broken anywhere."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import NamedTuple, Protocol

from tests.support.sse_script import (
    FIRST_BYTE,
    Drop,
    Event,
    Script,
    ServedCall,
    Stall,
    events,
    whole,
)

APART = 0.01  # seconds between two writes that the client has to read apart


class Owner(Protocol):
    """What a connection asks of its server."""

    delay: float
    keep_alive: bool

    def opened(self, connection: Connection) -> None:
        """Take note of a connection."""

    def closed(self, connection: Connection) -> None:
        """Forget a connection: both sides have closed it."""

    def begin(self, call: ServedCall) -> Script:
        """Take note of a call; say what to answer."""

    def end(self, call: ServedCall) -> None:
        """Take note that a call has ended."""

    def page(self, path: str) -> tuple[int, str, bytes]:
        """Return what a GET finds: status, type, content."""


class _HungUp(Exception):
    pass


class _Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Connection(asyncio.Protocol):
    """One connection: reads requests, serves each, and knows at once when the client has gone."""

    transport: asyncio.Transport

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._received = bytearray()
        self._more = asyncio.Event()
        self._gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._owner.opened(self)
        self._task = asyncio.get_running_loop().create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._more.set()

    def eof_received(self) -> bool:
        self._gone.set()
        self._more.set()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.eof_received()
        self._owner.closed(self)

    def abort(self) -> asyncio.Task[None]:
        """Stop serving; return the task, which ends at once."""
        self._task.cancel()
        self.transport.abort()
        return self._task

    async def _serve(self) -> None:
        try:
            while (request := await self._request()) is not None:
                if request.method == "GET":
                    self._whole(*self._owner.page(request.path))
                else:
                    await self._call(request)
                if not self._owner.keep_alive:
                    self._say_no_more()
                    await self._gone.wait()
        except _HungUp:
            pass
        finally:
            self.transport.close()

    async def _request(self) -> _Request | None:
        """Read the next request; None where the client has closed instead."""
        head = await self._until(lambda: self._received.find(b"\r\n\r\n") + 1)
        if head is None:
            return None
        lines = self._take(head + 3).decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        named = {name.lower(): value for name, value in headers.items()}
        length = int(named.get("content-length", 0))
        if await self._until(lambda: len(self._received) >= length) is None:
            return None
        return _Request(method, path, headers, self._take(length))

    async def _until(self, ready: Callable[[], int]) -> int | None:
        while not (found := ready()):
            if self._gone.is_set():
                return None
            self._more.clear()
            await self._more.wait()
        return int(found)

    def _take(self, length: int) -> bytes:
        taken = bytes(self._received[:length])
        del self._received[:length]
        return taken

    async def _call(self, request: _Request) -> None:
        """Serve one call, and note how it ended."""
        port = self.transport.get_extra_info("peername")[1]
        call = ServedCall(json.loads(request.body), request.path, request.headers, port)
        script = self._owner.begin(call)
        try:
            if isinstance(stall := script.faults.get(FIRST_BYTE), Stall):
                await self._pause(stall.seconds, script)
            if script.status != 200:
                failure = json.dumps({"error": {"message": "scripted failure"}}).encode()
                self._whole(script.status, "application/json", failure, script.headers)
            else:
                await self._tokens(call, script)
            call.disconnected = script.deaf and self._gone.is_set()
        except _HungUp:
            call.disconnected = True
            raise
        finally:
            self._owner.end(call)

    async def _tokens(self, call: ServedCall, script: Script) -> None:
        streams = bool(call.body.get("stream"))
        if streams:
            self._head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
        for event in events(call, script):
            if isinstance(event, Stall):
                await self._pause(event.seconds, script)
            elif isinstance(event, Drop):
                await self._drop(event)
                return
            else:
                for _ in range(event.tokens):
                    await self._pause(self._owner.delay, script)
                if streams:
                    await self._event(event)
                call.sent += event.tokens
        if streams:
            self.transport.write(b"0\r\n\r\n")
        else:
            self._whole(200, "application/json", json.dumps(whole(call, script)).encode())

    async def _pause(self, seconds: float, script: Script) -> None:
        """Wait, and no longer than the client does."""
        if script.deaf and self._gone.is_set():
            await asyncio.sleep(seconds)
        elif seconds == 0:
            await asyncio.sleep(0)
        else:
            timeout = None if math.isinf(seconds) else seconds
            try:
                await asyncio.wait_for(self._gone.wait(), timeout)
            except TimeoutError:
                return
        if self._gone.is_set() and not script.deaf:
            raise _HungUp

    async def _drop(self, drop: Drop) -> None:
        await asyncio.sleep(APART)  # a reset takes away what the client has not read
        if drop.reset:
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            self.transport.abort()
        else:
            self._say_no_more()

    def _say_no_more(self) -> None:
        """Close our side only: the connection counts as open until the client closes its own."""
        with suppress(OSError):  # the client has reset it
            if not self.transport.is_closing():
                self.transport.write_eof()

    async def _event(self, event: Event) -> None:
        for number, piece in enumerate(event.pieces):
            if number:
                await asyncio.sleep(APART)
            if not self.transport.is_closing():
                self.transport.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    def _whole(
        self, status: int, kind: str, content: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        length = str(len(content))
        self._head(status, {"Content-Type": kind, "Content-Length": length, **(headers or {})})
        self.transport.write(content)

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if not self._owner.keep_alive:
            lines.append("Connection: close")
        self.transport.write("\r\n".join([*lines, "", ""]).encode())
