"""A tiny model in a folder, questions in a file, and ``stopping record`` as a process."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from stopping_core.cli.app import app
from tests.support.tiny_model import byte_tokenizer, rambling_model, saying_model

# Loading torch takes seconds: one process does it, and each recording is a fork of that one.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["stopping_core.cli.record.local", "tests.cli.recording"])


def save_model(folder: Path, seed: int = 7, says: Sequence[str] = (), chat: str = "") -> Path:
    """A model that rambles, after its seed, or says the texts; see the models themselves."""
    tokenizer = byte_tokenizer(chat or None)
    tokenizer.save_pretrained(folder)
    model = saying_model(tokenizer, *says) if says else rambling_model(tokenizer, seed)
    model.save_pretrained(folder)
    return folder


def save_questions(path: Path, count: int) -> Path:
    """Questions of different lengths, three a group and six a family."""
    rows = [
        {
            "id": f"q{number}",
            "question": f"What is {number}" + " and so on" * (number % 5) + "?",
            "gold": [str(number)],
            "context": f"Passage {number // 3}.",
            "group": f"g{number // 3}",
            "family": f"f{number // 6}",
        }
        for number in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def start(log: Path, *arguments: str | Path) -> BaseProcess:
    """Start ``stopping record`` in a process of its own; what it says goes to a file."""
    log.unlink(missing_ok=True)
    process = _PROCESSES.Process(target=_record, args=(log, [str(one) for one in arguments]))
    process.start()
    return process


def _record(log: Path, arguments: list[str]) -> None:
    os.environ["COLUMNS"] = "200"
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores Ctrl-C
    with log.open("w", buffering=1) as stream:
        sys.stdout = sys.stderr = stream
        app(["record", *arguments])


def begun(process: BaseProcess, log: Path) -> None:
    """Wait until it is past loading and has planned what to record, or has ended."""
    while process.is_alive() and not (log.exists() and "runs to record" in log.read_text()):
        time.sleep(0.002)
