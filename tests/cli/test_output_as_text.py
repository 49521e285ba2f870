"""What servers say is printed as it is: Rich's markup in it colours, links and hides nothing."""

from __future__ import annotations

from io import StringIO

import pytest
import typer
from rich.console import Console

from stopping_core.cli.doctor.findings import YES, Finding
from stopping_core.cli.doctor.report import Diagnosis, show
from stopping_core.cli.told import told
from stopping_core.providers import Provider

MARKED = "[red]r[/red] [link=http://evil.invalid]l[/link] [/] [b] :smile:"
ESCAPES = "\x1b]0;owned\x07 \x1b[2J"


def test_the_doctor_prints_what_a_server_says() -> None:
    """Names and evidence are whole, and nothing of them becomes a style."""
    finding = Finding("streams", YES, MARKED + ESCAPES)
    diagnosis = Diagnosis(
        base_url="http://127.0.0.1:1/v1",
        model=MARKED + ESCAPES,
        findings=(finding,),
        row=Provider("openai-compatible"),
        measured=frozenset(),
        obeyed=("max_tokens",),
        streams=True,
        usage_refused=False,
    )
    written = StringIO()
    show(Console(file=written, width=400, force_terminal=True, no_color=True), diagnosis)
    assert 2 <= written.getvalue().count(MARKED)
    assert "]8;" not in written.getvalue()  # how a terminal is told of a link
    assert "\x1b]0" not in written.getvalue()
    assert 2 <= written.getvalue().count("\\x1b]0;owned\\x07 \\x1b[2J")


def test_a_command_that_fails_obeys_no_escape(capfd: pytest.CaptureFixture[str]) -> None:
    """What a file or a server says is in the errors that it tells."""
    with pytest.raises(typer.Exit), told("fit", extra="fit"):
        raise ValueError(f"{ESCAPES} is no number")
    assert "stopping fit: \\x1b]0;owned\\x07 \\x1b[2J is no number" in capfd.readouterr().err
