"""What the README tells a newcomer to type works."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage

from stopping_core import AdaptiveStopping
from stopping_core.feedback import OutcomeStore, OutcomeWriter
from stopping_core.steering import Pilot
from stopping_core.traces import Cuts
from tests.calibration.certified import made_certificate

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", README, re.DOTALL)


@pytest.mark.model
@pytest.mark.parametrize(
    ("code", "printed"), EXAMPLES, ids=["langchain", "llama_index", "transformers"]
)
def test_an_example_runs_and_prints_as_much(code: str, printed: str) -> None:
    """As it stands, in a process of its own. The words differ between machines."""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == len(printed.splitlines())


def test_what_it_shows_without_output_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings and traces as they stand; what is left open is tried by the certificates' tests."""
    found = re.findall(r"```python\n(.*?)```\n\n(```)?", README, re.DOTALL)
    blocks = [code for code, output in found if not output]
    settings, traces, certified, steered, kept, best = (
        compile(code, "README.md", "exec") for code in blocks
    )
    shutil.copy(ROOT / "tests" / "data" / "trace.parquet", tmp_path / "runs.parquet")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(settings, names)
    assert {"stopping", "watching"} <= set(names)
    exec(traces, names)
    assert isinstance(names["cuts"], Cuts)
    assert {"AdaptiveStopping", "AdaptiveChatModel", "adaptive_llm", "generate"} <= {
        *certified.co_names
    }
    made_certificate().write(tmp_path / "certificate.json")
    names = {"request_id": "17"}
    exec(steered, names)
    writer, pilot = names["writer"], names["pilot"]
    assert isinstance(writer, OutcomeWriter)
    assert isinstance(pilot, Pilot)
    assert writer.flush(10)
    writer.close()
    assert 0.05 == pilot.open_risk
    assert [1.0] == [one.value for one in OutcomeStore("sqlite:///stopping.db").feedback_of("17")]
    exec(kept, names)
    settled = names["stopping"]
    assert isinstance(settled, AdaptiveStopping)
    assert "shadow" == settled.mode
    exec(best, names)
    answer = names["answer"]
    assert isinstance(answer, AIMessage)
    assert ("It is 4.", 2) == (answer.content, answer.response_metadata["vote"]["samples"])


def test_the_files_and_commands_it_names_exist() -> None:
    """Links lead somewhere, and every ``make`` target is one."""
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"(?:^|`)make ([a-z]+)\b", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
