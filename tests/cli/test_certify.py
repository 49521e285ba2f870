"""``stopping fit`` and ``stopping certify``: what is learned, what is proven, what is refused."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from stopping_core.certificates import Certificate, FittedModel
from stopping_core.cli.certify.run import (
    columns_of,
    measure,
    one_of_each,
)
from stopping_core.cli.fit.recorded import family_hash, family_hashes, read_recorded, request_of
from stopping_core.completeness import default_check
from stopping_core.metrics import GRADERS
from stopping_core.policies import Never
from stopping_core.templates import Template, load_template
from stopping_core.traces.graded import Graded
from stopping_core.traces.needed import needed_lengths
from stopping_core.traces.replay import replay
from stopping_core.traces.run import Run, Trace
from stopping_core.traces.store import write_trace
from tests.cli.certifiable import FRAME, TEMPLATE, certifiable, stopping

RUNS = 280


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recorded runs, a model fitted on some of them, and its certificate from the others."""
    folder = tmp_path_factory.mktemp("certify")
    write_trace(folder / "runs.parquet", certifiable(RUNS))
    for command in (
        ("fit", folder / "runs.parquet", "--out", folder / "model.json", "--share", "0.3"),
        _certify(folder, "certificate.json"),
    ):
        code, printed = stopping(*command)
        assert code == 0, printed
    return folder


def _certify(folder: Path, out: str, *more: object) -> tuple[object, ...]:
    files = folder / "model.json", folder / "runs.parquet"
    return ("certify", *files, "--out", folder / out, *more)


def _drawn(folder: Path, certificate: Certificate) -> tuple[Run, ...]:
    """The runs that a certificate says it was tested on."""
    runs = read_recorded([folder / "runs.parquet"], None).runs
    families = set(certificate.certified.families)
    unseen = [run for run in runs if family_hashes([run])[0] in families]
    return one_of_each(unseen, "group", certificate.certified.seed)


def test_the_figures_are_those_of_the_engine(folder: Path) -> None:
    """Lost and saved of each level: as the engine that cuts live has it, run by run."""
    certificate = Certificate.load(folder / "certificate.json")
    runs = _drawn(folder, certificate)
    assert len(runs) == certificate.certified.runs
    for level in certificate.levels:
        policy = certificate.policy(level.risk)
        left = [replay(run, policy, tags=None, check=default_check()) for run in runs]
        lost = sum(
            _is_right(run, run.text) and not _is_right(run, cut.text)
            for run, cut in zip(runs, left, strict=True)
        )
        saved = 1 - sum(cut.tokens for cut in left) / sum(map(len, runs))
        assert (lost, len(runs)) == (level.lost, level.runs)
        assert pytest.approx(saved) == level.saving
        assert level.lost / level.runs <= level.bound <= level.risk
        assert level.saving > 0


def test_what_is_lost_is_counted(folder: Path) -> None:
    """A threshold that stops everything at once loses all that the full runs have right."""
    fitted = FittedModel.load(folder / "model.json")
    recorded = read_recorded([folder / "runs.parquet"], None)
    graded = Graded(columns_of(recorded.runs, recorded.scope))
    tested = measure(graded, recorded.scope, fitted.model, (-99.0, 99.0))
    right = [_is_right(run, run.text) for run in recorded.runs]
    assert [False] * len(right) == tested.lost[:, 0].tolist()
    assert right == tested.lost[:, 1].tolist()
    assert 0 == tested.saving[0] < 0.9 < tested.saving[1]


def test_the_lengths_are_those_of_the_tested_runs(folder: Path) -> None:
    """Conformal quantiles: of the runs that calibrated them the promised share needs no more."""
    fitted = FittedModel.load(folder / "model.json")
    assert fitted.needed is not None
    assert not fitted.needed.calibrated
    certificate = Certificate.load(folder / "certificate.json")
    runs = _drawn(folder, certificate)
    columns = columns_of(runs, certificate.scope)
    kept = [(one.needed, certificate.policy(one.risk)) for one in certificate.levels]
    for model, policy in [*kept, (certificate.natural, Never())]:
        assert model is not None
        assert (True, len(runs)) == (model.calibrated, model.runs)
        needed = needed_lengths(columns, policy).tolist()
        asked = [model.quantiles(request_of(run)) for run in runs]
        for place, level in enumerate(model.levels):
            enough = sum(n <= one[place] for n, one in zip(needed, asked, strict=True))
            assert enough / len(runs) >= level


def test_the_reliability_is_drawn(folder: Path, tmp_path: Path) -> None:
    """A picture, and its figures in a line; the certificate is the same."""
    out = tmp_path / "reliability.png"
    code, printed = stopping(*_certify(folder, "drawn.json", "--reliability", out))
    assert code == 0, printed
    assert b"\x89PNG" == out.read_bytes()[:4]
    assert "Brier score" in printed
    assert (folder / "drawn.json").read_bytes() == (folder / "certificate.json").read_bytes()


def test_what_a_check_refuses_is_not_cut(folder: Path) -> None:
    """Inside an open fence the default check lets nothing end, as in production."""
    fitted = FittedModel.load(folder / "model.json")
    recorded = read_recorded([folder / "runs.parquet"], None)
    fenced = [replace(run, tokens=("```\n", *run.tokens)) for run in recorded.runs]
    graded = Graded(columns_of(fenced, recorded.scope))
    tested = measure(graded, recorded.scope, fitted.model, (99.0,))
    assert not tested.lost.any()
    assert 0 == tested.saving[0]


def test_an_answer_that_a_session_drops_is_lost(folder: Path) -> None:
    """Uncut, but with a fence left open: the session begins anew. A loop's beginning is kept."""
    fitted = replace(FittedModel.load(folder / "model.json"), path=(-99.0,))
    recorded = read_recorded([folder / "runs.parquet"], None)

    def lost(*tokens: str) -> list[bool]:
        run = replace(recorded.runs[0], gold=("Paris",), tokens=tokens)
        graded = Graded(columns_of([run], recorded.scope))
        tested = measure(graded, recorded.scope, fitted.model, fitted.path)
        return [bool(one) for one in tested.lost[:, 0]]

    loop = (" The", " river", " is", " long", ".") * 30
    assert [False] == lost(" It", " is", " Paris", ".")
    assert [True] == lost("```\n", "Paris", ".")
    assert [False] == lost(" It", " is", " Paris", ".", *loop)


def _is_right(run: Run, text: str) -> bool:
    return GRADERS[run.grader](text, run.gold, open_end=False) >= 1


def test_what_was_fitted_on_is_not_certified_on(tmp_path: Path) -> None:
    """No family is in both parts, whatever the split; together they are families of the file."""
    made, trace = certifiable(72), tmp_path / "runs.parquet"
    write_trace(trace, made)
    families = set(family_hashes(made.runs))
    for seed, share in ((0, 0.4), (1, 0.3)):
        out = tmp_path / f"{seed}.json"
        stopping("fit", trace, "--out", out, "--seed", seed, "--share", share)
        code, printed = stopping(
            "certify", out, trace, "--out", tmp_path / "c.json", "--risk", "0.2"
        )
        assert code == 0, printed
        proven = Certificate.load(tmp_path / "c.json")
        seen, tested = set(proven.fitted.families), set(proven.certified.families)
        assert set() == seen & tested
        assert families == seen | tested
        assert seen == set(FittedModel.load(out).origin.families)


def test_one_run_of_each_group_is_drawn() -> None:
    """Each group has one, whatever the order of the runs; another seed draws others."""
    runs = list(certifiable(60).runs)
    drawn = one_of_each(runs, "group", 3)
    assert sorted({run.group for run in runs}) == sorted(run.group for run in drawn)
    random.Random(0).shuffle(runs)
    assert drawn == one_of_each(runs, "group", 3)
    assert any(drawn != one_of_each(runs, "group", seed) for seed in range(4, 8))


def test_families_may_be_what_is_drawn(folder: Path) -> None:
    """Where passages of an article are alike: one run of each family, and so half as many."""
    by_group, by_family = (
        stopping(*_certify(folder, f"{unit}.json", "--unit", unit, "--risk", "0.2"))
        for unit in ("group", "family")
    )
    assert (0, 0) == (by_group[0], by_family[0]), by_family
    made = [Certificate.load(folder / f"{unit}.json").certified for unit in ("group", "family")]
    assert made[0].runs == 2 * made[1].runs == 2 * len(made[1].families)
    assert "one a family" in by_family[1]
    runs = [replace(run, family="") for run in certifiable(60).runs]
    assert one_of_each(runs, "family", 3) == one_of_each(runs, "group", 3)


def test_a_passage_is_known_under_another_name(folder: Path, tmp_path: Path) -> None:
    """The same passages in a file that names its families otherwise were fitted on as well."""
    trace = certifiable(RUNS)
    renamed = [
        replace(run, family=f"other {run.family}", group=f"other {run.group}") for run in trace.runs
    ]
    write_trace(tmp_path / "renamed.parquet", Trace(trace.header, tuple(renamed)))
    files = folder / "model.json", tmp_path / "renamed.parquet"
    code, printed = stopping("certify", *files, "--out", tmp_path / "c.json", "--risk", "0.2")
    assert code == 0, printed
    left_out = FittedModel.load(folder / "model.json").origin.runs
    assert f"{RUNS} runs; {left_out} left out" in printed


def test_runs_left_out_are_told(folder: Path) -> None:
    """How many runs the fit has seen, and how many groups are left."""
    model = FittedModel.load(folder / "model.json")
    code, printed = stopping(*_certify(folder, "again.json"))
    assert code == 0
    assert f"{RUNS} runs; {model.origin.runs} left out" in printed
    assert (folder / "again.json").read_bytes() == (folder / "certificate.json").read_bytes()


def test_the_path_rises_and_is_as_long_as_promised(folder: Path) -> None:
    """Thresholds from careful to aggressive, at most twenty."""
    path = FittedModel.load(folder / "model.json").path
    assert sorted(set(path)) == list(path)
    assert 2 <= len(path) <= 20


def test_runs_of_few_families_are_enough_to_fit(tmp_path: Path) -> None:
    """Where no part of the runs can be left out, the model of all picks the path."""
    write_trace(tmp_path / "few.parquet", certifiable(12))
    code, printed = stopping(
        "fit", tmp_path / "few.parquet", "--out", tmp_path / "few.json", "--share", "1"
    )
    assert code == 0, printed
    few = FittedModel.load(tmp_path / "few.json")
    assert (3, 12) == (len(few.origin.families), few.origin.runs)
    assert len(few.path) > 1


def test_what_cannot_be_proven_is_refused(folder: Path) -> None:
    """Too few runs for the level: the number that would do is printed, nothing is written, 1."""
    code, printed = stopping(*_certify(folder, "none.json", "--risk", "0.001"))
    assert code == 1
    # Without any loss: the least n with 0.999^n <= 0.05.
    assert "refused: 2995 runs needed" in printed
    assert "nothing was written" in printed
    assert not (folder / "none.json").exists()


def test_runs_that_were_all_fitted_on_are_refused(tmp_path: Path) -> None:
    """Whoever fits on everything has nothing left to certify on."""
    trace = tmp_path / "runs.parquet"
    write_trace(trace, certifiable(12))
    stopping("fit", trace, "--out", tmp_path / "all.json", "--share", "1")
    code, printed = stopping(
        "certify", tmp_path / "all.json", trace, "--out", tmp_path / "certificate.json"
    )
    assert code == 1
    assert "was not fitted on, got 12 runs that it has all seen" in printed


def test_a_template_of_ones_own_is_named(tmp_path: Path) -> None:
    """Runs under another template than the package's: refused without its file, read with it."""
    (tmp_path / "mine.toml").write_text('user = "{context} Now tell: {question}"', "utf-8")
    mine = load_template(tmp_path / "mine.toml")
    write_trace(tmp_path / "mine.parquet", certifiable(16, template=mine))
    command = ("fit", tmp_path / "mine.parquet", "--out", tmp_path / "model.json")
    code, printed = stopping(*command)
    assert (1, True) == (code, "name its file with --template" in printed)
    code, printed = stopping(*command, "--template", tmp_path / "mine.toml")
    assert code == 0, printed
    assert mine == FittedModel.load(tmp_path / "model.json").scope.template


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"template_fingerprint": "0" * 16}, "of other content"),
        ({"template": "explain"}, "of other content"),
        ({"reasoning_tags": ("<think>", "</think>")}, "got runs to be stopped in the reasoning"),
    ],
)
def test_runs_of_another_kind_are_refused(
    folder: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    """Another template than it says, or reasoning where the policy stops answers."""
    made = certifiable(40)
    header = replace(made.header, **change)  # type: ignore[arg-type]  # any field
    write_trace(tmp_path / "other.parquet", Trace(header, made.runs))
    code, printed = stopping(
        "certify",
        folder / "model.json",
        tmp_path / "other.parquet",
        "--out",
        tmp_path / "certificate.json",
    )
    assert (1, True) == (code, message in printed), printed


def test_a_prompt_that_is_not_the_templates_is_refused(tmp_path: Path) -> None:
    """A file whose header names a template that its prompts were not made from."""
    trace = certifiable(40)
    spoilt = replace(trace.runs[7], prompt="Which city?")
    write_trace(
        tmp_path / "runs.parquet", Trace(trace.header, (*trace.runs[:7], spoilt, *trace.runs[8:]))
    )
    code, printed = stopping("fit", tmp_path / "runs.parquet", "--out", tmp_path / "model.json")
    assert (1, True) == (code, "run 'q7': its prompt is not what the template" in printed), printed


def test_files_that_differ_are_not_mixed(folder: Path, tmp_path: Path) -> None:
    """One model and one template a certificate."""
    write_trace(tmp_path / "other.parquet", certifiable(40, model_fingerprint="f" * 16))
    code, printed = stopping(
        "fit", folder / "runs.parquet", tmp_path / "other.parquet", "--out", tmp_path / "m.json"
    )
    assert (1, True) == (code, "traces must have the same model_fingerprint" in printed)


def test_reasoning_that_is_probed_otherwise_is_not_mixed(tmp_path: Path) -> None:
    """The probes are where a policy may be asked."""
    tags = ("<think>", "</think>")
    made = certifiable(12).runs
    for every, runs in ((8, made[:6]), (16, made[6:])):
        trace = certifiable(12, reasoning_tags=tags, probe_every=every)
        write_trace(tmp_path / f"{every}.parquet", replace(trace, runs=runs))
    with pytest.raises(ValueError, match=r"must have the same probe_every, got 8 in .* and 16 in"):
        read_recorded([tmp_path / "8.parquet", tmp_path / "16.parquet"], None)


def test_a_family_has_the_name_that_certificates_hold() -> None:
    """By kind and name; another one would be taken for unseen."""
    (run,) = certifiable(1).runs
    for changed, name in (
        (run, "family:f0"),
        (replace(run, family=""), "group:g0"),
        (replace(run, family="", group=""), "question:q0"),
    ):
        assert hashlib.sha256(name.encode()).hexdigest()[:16] == family_hash(changed)


@pytest.mark.parametrize("template", [TEMPLATE, load_template("raw")], ids=["chat", "raw"])
def test_runs_are_read_as_they_were_sent(tmp_path: Path, template: Template) -> None:
    """Question and context are found again in the prompts, and what stands around them."""
    trace = certifiable(12, template=template)
    write_trace(tmp_path / "runs.parquet", trace)
    recorded = read_recorded([tmp_path / "runs.parquet"], None)
    for was, run in zip(trace.runs, recorded.runs, strict=True):
        assert (was.question, was.context) == (run.question, run.context)
        request = replace(run.request(), question=_message(template, run))
        assert (run.question, run.context) == recorded.scope.read(request)
        assert recorded.scope.read(replace(request, prompt=f"And? {run.prompt}.")) is None
    assert (FRAME if template.chat else None) == recorded.scope.frame


def _message(template: Template, run: Run) -> str:
    before, after = FRAME
    return run.prompt.removeprefix(before).removesuffix(after) if template.chat else ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--risk", "0.01,x"), "--risk must be numbers with commas"),
        (("--risk", "0"), "levels must be in (0, 1)"),
        (("--confidence", "1"), "delta must be in (0, 1)"),
        (("--out", "."), "--out must be a file"),
    ],
)
def test_a_mistake_in_the_call_is_told(
    folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    """In a line, with the status of a failure."""
    code, printed = stopping(*_certify(folder, "x.json", *arguments))
    assert code in (1, 2)
    assert message in " ".join(printed.replace("│", " ").split())


def test_a_certificate_is_no_model(folder: Path) -> None:
    """Each kind of file is told from the other."""
    code, printed = stopping(
        "certify",
        folder / "certificate.json",
        folder / "runs.parquet",
        "--out",
        folder / "x.json",
    )
    assert (1, True) == (code, "kind must be 'stopping model'" in printed)


def test_a_changed_model_is_refused(folder: Path, tmp_path: Path) -> None:
    """A threshold that was touched up is not tested."""
    content = json.loads((folder / "model.json").read_text("utf-8"))
    content["path"][-1] += 0.5
    (tmp_path / "model.json").write_text(json.dumps(content), "utf-8")
    files = tmp_path / "model.json", folder / "runs.parquet"
    code, printed = stopping("certify", *files, "--out", tmp_path / "x.json")
    assert (1, True) == (code, "digest must be that of the content" in printed)
