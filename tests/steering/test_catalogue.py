"""Settings by model, quantisation and template."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from stopping_core import AdaptiveStopping
from stopping_core.cli.app import app
from stopping_core.steering import Catalogue
from tests.calibration.certified import PLAIN, made_certificate, made_scope


def _written(folder: Path, name: str = "certificate.json", **scope: object) -> Path:
    path = folder / name
    made_certificate(scope=made_scope(**scope)).write(path)
    return path


def test_a_certificate_goes_to_the_entry_that_it_is_for(tmp_path: Path) -> None:
    """Asked for by the names of model and template, with or without the fingerprint."""
    catalogue = Catalogue(tmp_path / "catalogue")
    entry, release = catalogue.promote(_written(tmp_path), "first")
    assert (1, "first") == (release.number, release.why)
    for asked in (
        catalogue.entry("models/Small-1.gguf", "plain"),
        catalogue.entry("small-1", PLAIN, "0123456789abcdef"),
        Catalogue(tmp_path / "catalogue").entry("small-1", "plain"),
    ):
        assert entry == asked
    stopping = entry.load(0.05, audit=0.1)
    assert ("active", "shadow", 0.1, 0.05) == (
        stopping.mode,
        stopping.otherwise,
        stopping.audit,
        stopping.risk,
    )


@pytest.mark.parametrize(
    "other",
    [
        ("small-2", "plain", ""),
        ("small-1", "explain", ""),
        ("small-1", "plain", "f" * 16),
    ],
)
def test_another_model_quantisation_or_template_starts_in_shadow(
    tmp_path: Path, other: tuple[str, str, str]
) -> None:
    """Nothing is cut where nothing was certified, whatever is asked for."""
    catalogue = Catalogue(tmp_path / "catalogue")
    first, _ = catalogue.promote(_written(tmp_path))
    entry = catalogue.entry(*other)
    assert entry != first
    assert ("shadow", None) == (entry.load().mode, entry.load().certificate)
    assert "shadow" == entry.load(profile="realtime_chat", mode="active").mode
    assert 2 == len(catalogue.entries)


def test_two_quantisations_of_one_name_have_to_be_told_apart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """None is taken for the other; a service that does not say which it runs starts in shadow."""
    catalogue = Catalogue(tmp_path / "catalogue")
    for name in ("a", "b"):
        catalogue.promote(_written(tmp_path, model_fingerprint=name * 16))
    assert "" == caplog.text
    entry = catalogue.entry("small-1", "plain")
    assert ("", "shadow") == (entry.fingerprint, entry.load().mode)
    assert "has several fingerprints, and none was given: " in caplog.text
    assert entry == catalogue.entry("small-1", "plain")
    assert "b" * 16 == catalogue.entry("small-1", "plain", "b" * 16).fingerprint


def test_behind_an_endpoint_there_is_one_entry_of_a_name(tmp_path: Path) -> None:
    """Nobody tells its fingerprint there, so a certificate of that name is for it."""
    catalogue = Catalogue(tmp_path / "catalogue")
    asked = catalogue.entry("small-1", "plain")
    entry, _ = catalogue.promote(_written(tmp_path))
    assert (asked, 1) == (entry, len(catalogue.entries))


def test_what_it_records_is_of_the_certificates_kind(tmp_path: Path) -> None:
    """The cap and temperature of its runs, where nothing else is said."""
    catalogue = Catalogue(tmp_path / "catalogue")
    entry, _ = catalogue.promote(_written(tmp_path, max_tokens=77, temperature=0.5))
    made = [entry.recorder("contains"), entry.recorder("contains", max_tokens=9, temperature=0.0)]
    assert [(77, 0.5), (9, 0.0)] == [
        (one.header.max_tokens, one.header.temperature) for one in made
    ]
    assert AdaptiveStopping(hooks=(made[0],)).hooks == (made[0],)


def test_a_service_starts_where_no_level_is_as_small_as_it_asks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was promoted by itself stops no service; nothing is cut, and that is told."""
    catalogue = Catalogue(tmp_path / "catalogue")
    entry, _ = catalogue.promote(_written(tmp_path))
    assert 0.01 == entry.load(profile="balanced").risk
    assert "" == caplog.text
    stopping = entry.load(profile="high_stakes", audit=0.2)
    assert ("shadow", 0.2) == (stopping.mode, stopping.audit)
    assert "certified from 0.01 on, asked for is 0.005" in caplog.text


def test_a_damaged_key_and_a_model_without_a_name_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By file, and by argument; other entries are there all the same."""
    catalogue = Catalogue(tmp_path)
    with pytest.raises(ValueError, match="model must be named, got ''"):
        catalogue.entry("", "plain")
    entry = catalogue.entry("small-1", "plain")
    (entry.folder / "key.json").write_text('{"model": 1}', "utf-8")
    other = catalogue.entry("small-2", "plain")
    assert (other,) == catalogue.entries
    assert "key.json: is damaged: key.model_fingerprint is missing" in caplog.text


def test_the_way_back_names_an_entry_where_there_are_several(tmp_path: Path) -> None:
    """On the command line."""
    folder = str(tmp_path / "catalogue")

    def go(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, arguments)
        return done.exit_code, " ".join(done.output.split())

    for number, (model, confidence) in enumerate(
        [("small-1", 0.9), ("small-1", 0.95), ("small-2", 0.9), ("small-2", 0.95)]
    ):
        path = tmp_path / f"{number}.json"
        made_certificate(scope=made_scope(model=model), confidence=confidence).write(path)
        assert 0 == go("promote", str(path), "--to", folder)[0]
    code, told = go("rollback", folder)
    assert 1 == code
    assert "must name one entry, got none; there are small-1 (0123456789abcdef) under" in told
    code, told = go("rollback", folder, "--model", "small-2", "--why", "slow")
    assert 0 == code
    assert told.startswith("small-2 (0123456789abcdef) under plain:")
    histories = {one.model: len(one.releases.history) for one in Catalogue(folder).entries}
    assert {"small-1": 2, "small-2": 3} == histories
    assert 1 == go("rollback", str(tmp_path / "nowhere"))[0]
