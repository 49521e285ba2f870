"""``stopping record`` on local models that say what is known beforehand, or that are damaged."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
from huggingface_hub import constants
from transformers.utils import logging as logging_of_transformers

from stopping_core.traces.run import Run, Trace
from stopping_core.traces.store import read_trace
from tests.cli.asking import record, record_aloud
from tests.cli.recording import save_model, save_questions

TEMPLATE = """
chat = false
user = "{question}:"
probe = ">="
"""


@pytest.fixture(scope="module")
def rambling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("rambling"))


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Trace]:
    """Record some questions with a model, and read what came of it."""
    asked = save_questions(tmp_path / "q.jsonl", 3)
    own = tmp_path / "own.toml"
    own.write_text(TEMPLATE)

    def make(model: Path, *more: str | Path, name: str = "t") -> Trace:
        out = tmp_path / f"{name}.parquet"
        status, said = record(
            asked, "--out", out, "--model", model, "--threads", "1", "--template", own, *more
        )
        assert status == 0, said
        return read_trace(out)

    return make


def changed(folder: Path, name: str, **values: Any) -> None:
    """Change a model's settings on the disk."""
    file = folder / name
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def answers(run: Run) -> dict[int, tuple[str, int, int]]:
    """Text, tokens and what is read again of each probe, the prompt and the words left out."""
    assert run.prompt_tokens == len(run.prompt)
    again = run.prompt_tokens + len(">=")
    return {at: (one.text, one.tokens, one.reread - again) for at, one in run.probes.items()}


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ([], {0: (" x", 3, 0), 4: (" x", 3, 4), 6: (" x", 3, 6)}),
        (["--reasoning", "<,>"], {at: ("= x\ny", 4, at) for at in (1, 4)}),
        (["--reasoning", "{,}"], {}),
    ],
)
def test_probes(
    made: Callable[..., Trace],
    tmp_path: Path,
    tags: list[str],
    expected: dict[int, tuple[str, int, int]],
) -> None:
    """An answer is probed all through, for a line; reasoning inside its tags, to the end."""
    model = save_model(tmp_path / "m", says=[":<abc>d", "= x\ny"])
    trace = made(model, "--max-tokens", "9", "--probe-every", "4", "--probe-tokens", "8", *tags)
    for run in trace.runs:
        assert run.prompt == f"{run.question}:"
        assert (run.text, len(run), run.finish_reason) == ("<abc>d", 6, "stop")
        assert answers(run) == expected
    assert ("probes" in trace.header.holds) is bool(expected)


def test_samples_and_seeds(made: Callable[..., Trace], rambling: Path) -> None:
    """Samples of a question differ, and so do those of another seed; the same seed repeats them."""
    sampled = ["--max-tokens", "20", "--samples", "3", "--temperature", "1"]
    first, again, other = (
        [run.tokens for run in made(rambling, *sampled, "--seed", seed, name=name).runs]
        for seed, name in (("0", "first"), ("0", "again"), ("1", "other"))
    )
    assert len(first) == 9
    for at in range(0, 9, 3):
        assert len(set(first[at : at + 3])) == 3
    assert first == again
    assert all(one != another for one, another in zip(first, other, strict=True))


def test_another_grader(made: Callable[..., Trace], rambling: Path, tmp_path: Path) -> None:
    """A file whose questions are graded in another way now is not gone on with."""
    made(rambling, "--max-tokens", "2", "--limit", "2")
    asked = tmp_path / "q.jsonl"
    rows = [json.loads(line) | {"grader": "f1"} for line in asked.read_text().splitlines()]
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments: list[str | Path] = [other, "--out", tmp_path / "t.parquet", "--model", rambling]
    arguments += ["--max-tokens", "2", "--threads", "1", "--template", tmp_path / "own.toml"]
    status, said = record(*arguments)
    assert (status, "recorded with another grader: 'contains', asked" in said) == (1, True), said


def test_room_for_probes(made: Callable[..., Trace], rambling: Path, tmp_path: Path) -> None:
    """A model is asked beyond its context by no probe either."""
    longest = max(len(run.prompt) for run in made(rambling, "--max-tokens", "1").runs)
    asked: list[str | Path] = [tmp_path / "q.jsonl", "--out", tmp_path / "probed.parquet"]
    asked += ["--model", rambling, "--template", tmp_path / "own.toml", "--threads", "1"]
    asked += ["--max-tokens", str(512 - longest), "--probe-every", "500", "--probe-tokens", "3"]
    status, said = record(*asked)
    assert (status, "and 5 of a probe go beyond the model's context of 512" in said) == (1, True)


def test_no_end_token(
    made: Callable[..., Trace], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A model that cannot end is warned of, and its file holds no end probability."""
    model = save_model(tmp_path / "m")
    for name in ("config.json", "generation_config.json"):
        changed(model, name, eos_token_id=None)
    with caplog.at_level(logging.WARNING):
        trace = made(model, "--max-tokens", "6")
    assert "m names no end-of-sequence token: all runs go on to the cap" in caplog.text
    assert trace.header.holds == {"logprobs", "top_logprobs"}
    for run in trace.runs:
        assert (len(run), run.finish_reason, run.end_probability) == (6, "length", None)


@pytest.mark.parametrize(
    ("chat", "expected"),
    [
        ("{{ raise_exception('no system') }}", "TemplateError: no system"),
        ("{% for", "TemplateSyntaxError: "),
        ("{{ 1 + 'a' }}", "TypeError: "),
    ],
)
def test_a_chat_template_that_raises(tmp_path: Path, chat: str, expected: str) -> None:
    """The model and the question are named, in a line."""
    asked = save_questions(tmp_path / "q.jsonl", 2)
    model = save_model(tmp_path / "m", chat=chat)
    refused(
        [asked, "--template", "plain", "--model", model, "--out", tmp_path / "t.parquet"],
        f"m: its chat template cannot put the question 'q0': {expected}",
    )


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_damaged_model(tmp_path: Path, name: str) -> None:
    """Its folder is named, in a line."""
    asked = save_questions(tmp_path / "q.jsonl", 2)
    model = save_model(tmp_path / "m")
    (model / name).write_bytes(b"cut short")
    refused(
        [asked, "--template", "raw", "--model", model, "--out", tmp_path / "t.parquet"],
        f"{model}: cannot be loaded as a model: ",
    )


def test_without_a_bar(rambling: Path, tmp_path: Path) -> None:
    """No bar of transformers is drawn into the log of a recording; afterwards there are bars."""
    asked, out = save_questions(tmp_path / "q.jsonl", 1), tmp_path / "t.parquet"
    own = ["--template", "raw", "--max-tokens", "1", "--threads", "1"]
    status, said = record(asked, "--out", out, "--model", rambling, *own)
    assert (status, "Loading weights" in said) == (0, False), said
    assert logging_of_transformers.is_progress_bar_enabled()


class _Hub(BaseHTTPRequestHandler):
    """Notes what it is asked for, and is busy."""

    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.asked.append(self.path)
        self.send_error(503)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_name_that_is_not_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is asked for once, without a word, and the refusal says what else may have been meant."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as hub:
        url = f"http://127.0.0.1:{hub.server_port}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        Thread(target=hub.serve_forever, daemon=True).start()
        asked = save_questions(tmp_path / "q.jsonl", 1)
        out = tmp_path / "t.parquet"
        status, said = record(asked, "--out", out, "--template", "raw", "--model", "gpt-4o")
        hub.shutdown()
    assert (status, said.startswith("stopping record: name_or_path must be ")) == (1, True), said
    assert said.endswith("; for an endpoint give --base-url")
    assert _Hub.asked == ["/gpt-4o/resolve/main/config.json"]
    assert caplog.messages == []


def refused(arguments: list[str | Path], expected: str) -> None:
    """Record in vain: the last thing said is one line that begins so, and no file is left."""
    status, said = record_aloud(*arguments)
    *_, line = said.splitlines()
    assert (status, line.startswith(f"stopping record: {expected}")) == (1, True), said
    [out] = [one for one in arguments if str(one).endswith(".parquet")]
    assert not list(Path(out).parent.glob("*parquet*"))
