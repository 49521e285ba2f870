"""``stopping record`` in this process, against a scripted endpoint with a list of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stopping_core.cli.app import app
from stopping_core.traces.run import Run
from stopping_core.traces.store import read_trace
from tests.cli.recording import save_questions
from tests.support.sse_connection import Connection
from tests.support.sse_script import Scripts
from tests.support.sse_server import CountingServer


def record(*arguments: str | Path) -> tuple[int, str]:
    """Record; return the status and what was said, in one line."""
    status, said = record_aloud(*arguments)
    return status, " ".join(said.split())


def record_aloud(*arguments: str | Path) -> tuple[int, str]:
    """Record; return the status and what was said, as it was."""
    result = CliRunner().invoke(app, ["record", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def asking(folder: Path, count: int = 3) -> list[str | Path]:
    """Arguments that ask so many questions."""
    return [save_questions(folder / "q.jsonl", count), "--out", folder / "t.parquet"]


def at(server: Any) -> list[str]:
    """Arguments that name an endpoint."""
    return ["--base-url", server.base_url, "--model", server.model, "--max-tokens", "12"]


def runs(folder: Path) -> dict[str, Run]:
    """The recorded runs by their questions."""
    return {run.question_id: run for run in read_trace(folder / "t.parquet").runs}


class Listing(CountingServer):
    """Serves scripts, and a list of models of the test's own.

    Args:
        scripts: As :class:`CountingServer` takes them.
        models: What ``/v1/models`` gives.
        status: With which.
    """

    def __init__(self, scripts: Scripts, models: Any, status: int = 200) -> None:
        super().__init__(scripts, delay=0)
        self.models = models
        self.status = status

    def page(self, path: str) -> tuple[int, str, bytes]:
        return self.status, "application/json", json.dumps(self.models).encode()


def refuse_with(monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    """Let the scripted server say this where it fails with a status."""
    whole = Connection._whole

    def said(self: Connection, status: int, kind: str, told: bytes, *others: Any) -> None:
        whole(self, status, kind, told if status == 200 else content.encode(), *others)

    monkeypatch.setattr(Connection, "_whole", said)
