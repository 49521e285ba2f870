"""Which certificate is in use, and the way back."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stopping_core import AdaptiveStopping
from stopping_core.certificates import Certificate
from stopping_core.cli.app import app
from stopping_core.steering import Releases
from tests.calibration.certified import made_certificate


@pytest.fixture
def made(tmp_path: Path) -> list[Path]:
    """Three certificates that differ."""
    paths = []
    for number in range(3):
        path = tmp_path / f"made-{number}.json"
        made_certificate(confidence=0.9 + number / 100).write(path)
        paths.append(path)
    return paths


def test_the_last_one_promoted_is_in_use(tmp_path: Path, made: list[Path]) -> None:
    """As it was, byte by byte, and those before it are kept."""
    releases = Releases(tmp_path / "releases")
    for number, path in enumerate(made, 1):
        release = releases.promote(path, f"because {number}")
        assert (number, f"because {number}") == (release.number, release.why)
        assert path.read_bytes() == releases.current.read_bytes()
    assert [1, 2, 3] == [one.number for one in Releases(tmp_path / "releases").history]
    assert AdaptiveStopping.load(releases.current, risk=0.05).certificate == Certificate.load(
        made[2]
    )


def test_the_way_back_leads_to_the_one_before(tmp_path: Path, made: list[Path]) -> None:
    """Step by step; promoted again, a certificate has a number of its own."""
    releases = Releases(tmp_path / "releases")
    for path in made:
        releases.promote(path)
    assert [2, 1] == [releases.rollback().number, releases.rollback("still bad").number]
    assert made[0].read_bytes() == releases.current.read_bytes()
    with pytest.raises(ValueError, match="no release before the current one"):
        releases.rollback()
    assert 4 == releases.promote(made[2]).number
    assert 3 == releases.rollback().number
    assert "still bad" in [one.why for one in releases.history]


def test_what_is_no_certificate_changes_nothing(tmp_path: Path, made: list[Path]) -> None:
    """Nor does the one that is in use."""
    releases = Releases(tmp_path / "releases")
    with pytest.raises(ValueError, match="holds no release: promote a certificate first"):
        _ = releases.current
    releases.promote(made[0])
    damaged = tmp_path / "damaged.json"
    damaged.write_text(made[1].read_text("utf-8").replace("0.91", "0.99"), "utf-8")
    with pytest.raises(ValueError, match=r"damaged\.json"):
        releases.promote(damaged)
    with pytest.raises(ValueError, match="is in use already"):
        releases.promote(made[0])
    with pytest.raises(FileNotFoundError):
        releases.promote(tmp_path / "nowhere.json")
    assert [1] == [one.number for one in releases.history]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("[{]", "not a JSON text"),
        ("{}", "must be a list"),
        ('[{"number": 0, "certificate": "a", "time": "b", "why": "c"}]', "number must be a whole"),
        (
            '[{"number": 1, "certificate": 7, "time": "b", "why": "c"}]',
            "certificate must be a text",
        ),
    ],
)
def test_a_damaged_folder_is_told(tmp_path: Path, state: str, message: str) -> None:
    """By file and key."""
    (tmp_path / "releases.json").write_text(state, "utf-8")
    with pytest.raises(ValueError, match=message):
        _ = Releases(tmp_path).history


def _promote(folder: str, path: str) -> None:
    Releases(folder).promote(path)


def test_processes_take_turns(tmp_path: Path, made: list[Path]) -> None:
    """No release is lost, and no number given twice."""
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_promote, args=(str(tmp_path / "releases"), str(path)))
        for path in made
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [0, 0, 0] == [process.exitcode for process in processes]
    releases = Releases(tmp_path / "releases")
    assert [1, 2, 3] == [one.number for one in releases.history]
    assert 3 == len({one.certificate for one in releases.history})


def test_on_the_command_line(tmp_path: Path, made: list[Path]) -> None:
    """One command there, and one back."""
    folder = str(tmp_path / "catalogue")

    def go(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, arguments)
        return done.exit_code, done.output

    for path in made[:2]:
        assert 0 == go("promote", str(path), "--to", folder, "--why", "better")[0]
    code, told = go("rollback", folder)
    assert (0, True) == (code, "certificate-0001.json" in told.replace("\n", ""))
    (state,) = (tmp_path / "catalogue").glob("*/releases.json")
    assert 3 == len(json.loads(state.read_text("utf-8")))
    code, told = go("rollback", folder)
    assert 1 == code
    assert "no release before" in told
