"""The scripted server in a process of its own, for tests that need the interpreter themselves."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.sse_script import MODEL

_ROOT = Path(__file__).resolve().parents[2]


class ServerProcess:
    """Runs ``tests.support.sse_server``, which serves one text to every call.

    Args:
        text: The text, a token a word.
        delay: Seconds before each token, >= 0.
        keep_alive: Whether connections are kept for a next call.

    Attributes:
        base_url: The address that an OpenAI client takes.
        model: The name under which it serves.
    """

    def __init__(self, text: str, *, delay: float = 0.01, keep_alive: bool = True) -> None:
        self.base_url = ""
        self.model = MODEL
        self._command = [sys.executable, "-m", "tests.support.sse_server"]
        self._command += ["--text", text, "--delay", str(delay)]
        self._command += [] if keep_alive else ["--close"]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.base_url = self._process.stdout.readline().strip()
        if not self.base_url:
            raise RuntimeError(f"the server did not start: {self._command}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate(timeout=10)  # it ends with its standard input

    def stats(self) -> dict[str, int]:
        """What the server has counted so far, as :meth:`CountingServer.stats` says it."""
        with urllib.request.urlopen(self.base_url.removesuffix("/v1") + "/stats") as answer:
            found: dict[str, int] = json.load(answer)
            return found
