"""``stopping doctor`` where there is little or nothing to measure: a plain message, and no hang."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stopping_core.cli.app import app
from stopping_core.cli.keys import key_for
from tests.cli.examining import KEY, TOKENS, answering, diagnosis, doctor, verdicts
from tests.support.sse_server import FIRST_BYTE, CountingServer, Script, Stall


def test_a_server_that_stalls_gives_a_finding() -> None:
    """Two stalls in mid-stream, and nothing more is asked: two time limits, and no hang."""
    with CountingServer([Script(TOKENS, faults={3: Stall()})], delay=0) as server:
        start = time.monotonic()
        found = diagnosis(server.base_url, server.model, "--timeout", 0.5)
        assert time.monotonic() - start < 10
        assert 2 == len(server.calls)
        assert 2 == server.disconnected
    assert "not measured" == verdicts(found)["all else"]
    assert "3 tokens, then nothing more within 0.5 s" == found["findings"][0]["evidence"]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (Script(status=401), "the key is refused: 401: scripted failure"),
        (Script(status=404), "no answer from the model 'nobody': 404: scripted failure; it lists"),
        (Script(status=400), "no answer from the model 'nobody': 400: scripted failure; it lists"),
        (
            Script(TOKENS, faults={FIRST_BYTE: Stall()}),
            "gives no answer: nothing more within 0.5 s",
        ),
    ],
)
def test_what_ends_it_at_once(script: Script, said: str) -> None:
    """A plain message and exit code 1: refused key, unknown model, no answer at all."""
    with CountingServer([script], delay=0) as server:
        code, printed = doctor(
            *("--base-url", server.base_url, "--model", "nobody", "--timeout", 0.5)
        )
    assert [1, True] == [code, said in " ".join(printed.split())], printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--base-url", "http://127.0.0.1:9/v1"], "gives no answer: APIConnectionError"),
        (
            ["--base-url", "localhost:8000"],
            "--base-url must be http(s)://HOST..., got localhost:8000",
        ),
        (
            ["--base-url", "http://me:word@127.0.0.1/v1"],
            "must hold no user name, password or query",
        ),
        (["--base-url", "http://127.0.0.1/v1", "--api-key", "caf\xe9"], "must be printable ASCII"),
        (["--base-url", "http://127.0.0.1/v1", "--timeout", "0"], "0.1"),
    ],
)
def test_a_mistake_is_named(arguments: list[str], said: str) -> None:
    """Exit code and message, no traceback, no password."""
    code, printed = doctor("--model", "m", *arguments)
    assert code != 0
    assert said in " ".join(printed.split())
    assert not re.search("Traceback|word@", printed)


def test_what_answers_need_not_be_a_model() -> None:
    """A page that is found but says nothing a model would say counts as no answer."""
    with answering(200, lambda key: "It works!") as url:
        code, printed = doctor("--base-url", url, "--model", "m")
    assert [1, True] == [code, "gives no answer: it says nothing" in " ".join(printed.split())]


def test_the_key_never_reaches_the_output() -> None:
    """Not even where the server says it back."""
    with answering(401, lambda key: {"error": {"message": f"unknown: {key}"}}) as url:
        code, printed = doctor("--base-url", url, "--model", "m", "--api-key", KEY)
    assert 1 == code
    assert "unknown: Bearer ***" in " ".join(printed.split())
    assert KEY not in printed


@pytest.mark.parametrize("command", ["doctor", "demo"])
def test_the_key_of_the_environment_stays_at_home(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is OpenAI's, and is not sent to whatever --base-url names."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    sent: set[str] = set()

    def answer(key: str) -> dict[str, str]:
        sent.add(key)
        return {}

    with answering(401, answer) as url:
        arguments = ["--base-url", url, "--model", "m"]
        if command == "demo":
            arguments += ["--out", str(tmp_path)]
        result = CliRunner().invoke(app, [command, *arguments])
        assert 1 == result.exit_code
        result = CliRunner().invoke(app, [command, *arguments, "--api-key", "mine"])
        assert 1 == result.exit_code
    assert {"Bearer none", "Bearer mine"} == sent


@pytest.mark.parametrize(
    ("given", "base_url", "key"),
    [
        (None, "https://api.openai.com/v1", KEY),
        ("mine", "https://api.openai.com/v1", "mine"),
        (None, "http://api.openai.com/v1", "none"),
        (None, "https://api.openai.com.example.com/v1", "none"),
        (None, "https://api.openai.com@example.com/v1", "none"),
        (None, None, "none"),
    ],
)
def test_whose_key_is_taken(
    given: str | None, base_url: str | None, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that is given; the environment's for OpenAI over https alone."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert key == key_for(base_url, given)


def test_a_busy_server_refuses_nothing() -> None:
    """A 503 says nothing of what the endpoint can, and settles nothing of its row."""
    scripts = [Script(TOKENS), Script(status=503)]
    with CountingServer(scripts, delay=0) as server:
        found = diagnosis(server.base_url, server.model)
    assert [] == found["measured"]
    assert {"unclear", "not measured"} == set(verdicts(found).values()) - {"yes"}
    assert ["answers"] == [name for name, seen in verdicts(found).items() if seen == "yes"]


def test_nothing_is_asked_twice() -> None:
    """A failure is told as it came; the client does not try again behind the doctor's back."""
    with CountingServer([Script(status=500)], delay=0) as server:
        assert 1 == doctor("--base-url", server.base_url, "--model", server.model)[0]
        assert 1 == len(server.calls)


def test_without_openai_it_says_what_to_install() -> None:
    """The command exists in the core's distribution, its packages are an extra."""
    code = (
        "import sys; sys.modules['openai'] = None; from stopping_core.cli.app import main; "
        "sys.argv = ['stopping', 'doctor', '--base-url', 'http://x/v1', '--model', 'm']; main()"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 1 == result.returncode
    assert "openai is needed here" in result.stderr
    assert "pip install 'stopping-core[demo]'" in result.stderr
