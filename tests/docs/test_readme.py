"""What the README tells a newcomer to type works."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_the_settings_it_shows_are_right() -> None:
    """A block without output runs as well."""
    found = re.findall(r"```python\n(.*?)```\n\n(```)?", README, re.DOTALL)
    (settings,) = [code for code, output in found if not output]
    names: dict[str, object] = {}
    exec(settings, names)
    assert "stopping" in names


def test_the_files_and_commands_it_names_exist() -> None:
    """Links lead somewhere, and every ``make`` target is one."""
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"(?:^|`)make ([a-z]+)\b", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
