"""The command line, on the real embedded model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stopping_core.cli.app import app
from stopping_core.cli.demo.frontier import replay
from stopping_core.embedded import EmbeddedServer
from stopping_core.policies import MaxTokens, Never, Threshold
from stopping_core.signals import Sentences

ROW = ["framework", "mode", "questions", "tokens", "seconds", "right", "f1", "retries"]
SQUAD = {
    "data": [
        {
            "title": "France",
            "paragraphs": [
                {
                    "context": "Paris is the capital of France. It lies on the river Seine.",
                    "qas": [
                        {
                            "id": "q1",
                            "question": "What is the capital of France?",
                            "answers": [{"text": "Paris", "answer_start": 0}],
                        }
                    ],
                }
            ],
        }
    ]
}


def stopping(*arguments: str | Path) -> tuple[int, str]:
    """Run a command; return its exit code and all it printed."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_the_demo_on_an_endpoint(embedded_server: EmbeddedServer, tmp_path: Path) -> None:
    """A SQuAD file, the user's own endpoint: the table, the picture, the summary."""
    data = tmp_path / "squad.json"
    data.write_text(json.dumps(SQUAD))
    code, printed = stopping(
        *("demo", "--data", data, "--questions", "5", "--max-tokens", "24", "--out", tmp_path),
        *("--base-url", embedded_server.base_url, "--model", embedded_server.model, "--prefill"),
    )
    assert code == 0, printed
    rows = json.loads((tmp_path / "summary.json").read_text())
    assert [(r["framework"], r["mode"]) for r in rows] == [
        ("langchain", "plain"),
        ("langchain", "adaptive"),
        ("llama_index", "plain"),
        ("llama_index", "adaptive"),
    ]
    for row in rows:
        assert list(row) == ROW
        assert row["questions"] == 1
        assert 0 < row["tokens"]
        assert row["seconds"] > 0
        assert row["right"] in (0, 1)
        assert 0 <= row["f1"] <= 1
    assert rows[0]["tokens"] == rows[2]["tokens"] <= 24
    assert (tmp_path / "frontier.png").read_bytes().startswith(b"\x89PNG")
    shown = "What is the capital of France?" in printed
    assert shown or rows[1]["tokens"] >= rows[0]["tokens"]  # nothing was saved: nothing to show


def test_the_demo_brings_its_own_model(tmp_path: Path) -> None:
    """With no endpoint named it starts the embedded one and asks the language reference."""
    code, printed = stopping("demo", "--questions", "1", "--max-tokens", "16", "--out", tmp_path)
    assert code == 0, printed
    assert len(json.loads((tmp_path / "summary.json").read_text())) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--base-url", "http://127.0.0.1:1/v1"], "--base-url and --model go together"),
        (["--base-url", "http://127.0.0.1:9/v1", "--model", "m"], "Connection error"),
        (["--questions", "0"], "greater than or equal to 1"),
        (["--profile", "fast"], "profile must be one of"),
        (["--data", "nowhere.json"], "nowhere.json"),
    ],
)
def test_a_mistake_is_named(arguments: list[str], message: str, tmp_path: Path) -> None:
    """Exit code and message, no traceback."""
    code, printed = stopping("demo", "--out", tmp_path, *arguments)
    assert code != 0
    assert message in " ".join(printed.split())
    assert "Traceback" not in printed


def test_without_typer_it_says_what_to_install() -> None:
    """The command exists in the core's distribution, its packages are an extra."""
    code = "import sys; sys.modules['typer'] = None; import stopping_core.cli.app"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "pip install 'stopping-core[demo]'" in result.stderr


def test_a_replay_keeps_a_prefix_of_the_run() -> None:
    """The frontier's points: the text a rule leaves, and the tokens it waits for."""
    pieces = ("It", " is", " Paris.", " And", " more", ".")
    assert replay(Never(), pieces) == ("It is Paris. And more.", 6)
    assert replay(MaxTokens(2), pieces) == ("It is", 2)
    assert replay(Threshold(Sentences(), at_least=1), pieces) == ("It is Paris.", 4)
