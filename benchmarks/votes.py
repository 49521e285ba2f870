"""Votes over recorded samples, ours and the published ones: ``python -m benchmarks.votes``.

The learned rule that ends samples is fitted on greedy runs of other questions. The questions that
were sampled are split by family. On the choosing part every way takes the setting with the fewest
output tokens among those that lose at most so many of its questions: the vote of all samples is
right there and it is not. What it gains counts for nothing, as that may be luck. Votes are also
certified on that part, by ``stopping certify-vote``. All figures are of the other part. With
``--live`` votes are held live on questions of that part, by the model that was recorded: a
certified one, and by each published rule at its setting of the last table.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from benchmarks.live_votes import Booth
from stopping_core.certificates import FittedModel
from stopping_core.cli.app import app
from stopping_core.cli.bench.ended_votes import CONFIDENCES, EndedVote
from stopping_core.cli.bench.scores import Mask, Scores
from stopping_core.cli.bench.sweeping import channel_of, every_of
from stopping_core.cli.bench.votes import Ballot
from stopping_core.cli.certify.votes import vote as count_votes
from stopping_core.cli.fit.recorded import family_hash, passage_hash
from stopping_core.completeness import default_check
from stopping_core.hybrids import DecidedVote, VoteCertificate
from stopping_core.policies.baselines import (
    AdaptiveConsistency,
    DeepConf,
    Esc,
    SampleRule,
    VoteOfN,
)
from stopping_core.policies.learned import LearnedStopping
from stopping_core.resampling import GroupBootstrap, Interval
from stopping_core.traces.columns import Columns
from stopping_core.traces.run import Run, Trace
from stopping_core.traces.splits import family_of, split
from stopping_core.traces.store import read_trace, write_trace
from stopping_core.traces.sweep import cut

_OURS = "decided vote, samples ended (ours)"
_LEVELS = (0.02, 0.05)
_SHARES = {"choose": 0.6, "report": 0.4}
_HEADS = (
    "way",
    "setting",
    "tokens",
    "of the full vote's",
    "right",
    "more right than it",
    "tokens of ours to its",
)


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """A way to vote, at one setting.

    Args:
        name: What the table calls it.
        setting: It, as it prints itself.
        scores: What became of each question.
        rule: Draws the samples, where nothing but it ends them; else None.
    """

    name: str
    setting: str
    scores: Scores
    rule: SampleRule | None = None


def ways(trace: Trace, ballot: Ballot, fitted: Sequence[FittedModel]) -> Iterator[list[Way]]:
    """Every way with all of its settings; DeepConf where the samples hold its confidences.

    Args:
        trace: The samples.
        ballot: Of them.
        fitted: Models of the learned rule, one a tier.
    """
    most = ballot.recorded
    early = [DecidedVote(one, most) for one in CONFIDENCES]
    rules: dict[str, Sequence[SampleRule]] = {
        "vote of N": [VoteOfN(number) for number in range(1, most + 1)],
        "ESC": [Esc(window, most) for window in range(2, most + 1)],
        "Adaptive-Consistency": [
            AdaptiveConsistency(one.confidence, most) for one in AdaptiveConsistency.grid()
        ],
        "decided vote (ours)": early,
    }
    if all(one.confidences is not None for some in ballot.samples for one in some):
        rules["DeepConf"] = [
            DeepConf(warmup, keep, window, most=most)
            for warmup in (most // 4, most // 2)
            for keep in (0.9, 0.5, 0.1)
            for window in (8, 16, 32, 64)
        ]
    for name, some in rules.items():
        yield [Way(name, repr(rule), ballot.scores(ballot.drawn(rule)), rule) for rule in some]
    columns = Columns(
        trace.runs,
        channel=channel_of(trace),
        tags=trace.header.reasoning_tags,
        every=every_of(trace),
    )
    check = default_check() if columns.channel == "answer" else None
    for one in fitted:
        policies = [LearnedStopping(at, one.model, one.scope.look_every) for at in one.path]
        ended = [(policy, ballot.cut(cut(columns, policy, check))) for policy in policies]
        for name, some in (
            ("all samples, ended (ours)", [VoteOfN(most)]),
            (_OURS, early),
        ):
            yield [
                Way(
                    f"{name}, {one.model.tier}",
                    " ".join(repr(EndedVote(policy, rule)).split()),
                    own.scores(own.drawn(rule)),
                )
                for policy, own in ended
                for rule in some
            ]


def chosen(tried: Iterable[Way], full: Scores, choose: Mask, level: float) -> Way:
    """Take the setting with the fewest tokens that loses at most a share of the questions.

    Where there is none, it is the one that loses least.

    Args:
        tried: The settings.
        full: The vote of all samples.
        choose: The questions to choose on.
        level: The share, in [0, 1].
    """

    def rank(way: Way) -> tuple[float, float]:
        lost = float((full.right & ~way.scores.right)[choose].mean())
        return max(0.0, lost - level), float(way.scores.generated[choose].sum())

    return min(tried, key=rank)


def table(
    rows: Sequence[Way], ours: Way, full: Scores, report: Mask, groups: Sequence[str]
) -> list[str]:
    """Write the rows as Markdown, with 95% bootstrap intervals over the families.

    Args:
        rows: Each at its setting.
        ours: To compare the others with.
        full: The vote of all samples.
        report: The questions to report on.
        groups: Families of these.
    """
    bootstrap = GroupBootstrap(groups)
    whole = full.generated[report]
    lines = [f"| {' | '.join(_HEADS)} |", "|---" * len(_HEADS) + "|"]
    for way in rows:
        spent, right = way.scores.generated[report], way.scores.right[report].astype(float)
        more = right - full.right[report]
        mine = ours.scores.generated[report]
        cells = (
            way.name,
            f"`{way.setting}`",
            f"{spent.mean():.0f}",
            _percent(spent.sum() / whole.sum(), bootstrap.ratio(spent, whole)),
            f"{100 * right.mean():.1f}",
            _percent(more.mean(), bootstrap.ratio(more, np.ones(len(more)))),
            _percent(mine.sum() / spent.sum(), bootstrap.ratio(mine, spent)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def certified(
    trace: Trace, model: Path, folder: Path, levels: str, seed: int
) -> VoteCertificate | None:
    """Certify a vote on the choosing part; None where no level could be.

    Args:
        trace: Of that part.
        model: What ``stopping fit`` wrote.
        folder: For the files.
        levels: Of risk, with commas between.
        seed: Of the command.
    """
    runs, out = folder / "choose.parquet", folder / "vote.json"
    write_trace(runs, trace)
    command = ["certify-vote", str(model), str(runs), "--out", str(out), "--risk", levels]
    done = CliRunner().invoke(app, [*command, "--seed", str(seed)])
    print(done.output)
    return VoteCertificate.load(out) if done.exit_code == 0 else None


def _percent(value: float, interval: Interval) -> str:
    return f"{100 * value:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _part(trace: Trace, ballot: Ballot, where: Mask) -> Trace:
    """The samples of some questions."""
    numbers = [number for one in np.flatnonzero(where) for number in ballot.numbers[one]]
    return replace(trace, runs=tuple(trace.runs[number] for number in numbers))


def _fitted(greedy: Path, tiers: Sequence[str], folder: Path) -> dict[str, Path]:
    """Fit the learned rule on greedy runs, for each tier.

    Raises:
        SystemExit: The command failed; what it said.
    """
    made = {}
    for tier in tiers:
        made[tier] = folder / f"{tier}.json"
        command = ["fit", str(greedy), "--share", "1", "--tier", tier, "--out", str(made[tier])]
        done = CliRunner().invoke(app, command)
        print(done.output)
        if done.exit_code:
            raise SystemExit(done.exit_code)
    return made


def main() -> None:
    """Compare votes over recorded samples, and hold certified ones live."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("samples", type=Path, help="trace of the samples")
    parser.add_argument("greedy", type=Path, help="trace of greedy runs of other questions")
    parser.add_argument("--tiers", default="text,logprobs", help="of the learned rule")
    parser.add_argument("--risk", default="0.02,0.05,0.1", help="levels to certify")
    parser.add_argument("--seed", type=int, default=0, help="of the split")
    parser.add_argument("--model", help="folder of the model that was recorded, for --live")
    parser.add_argument("--live", type=int, default=0, help="questions to vote on live")
    parser.add_argument("--out", type=Path, help="write the tables there")
    given = parser.parse_args()
    if given.live and not given.model:
        parser.error("--model must name the model that --live asks")
    trace = read_trace(given.samples)
    ballot = Ballot.of(trace.runs, trace.header.reasoning_tags)
    parts = split(ballot.firsts, _SHARES, given.seed)
    choose, report = (_mask(parts[name], len(ballot.firsts)) for name in _SHARES)
    full = ballot.full()
    lines = [
        f"{len(ballot.firsts)} questions, {ballot.recorded} samples of each at temperature "
        f"{trace.header.temperature:g}: settings chosen and certified on {choose.sum()}, reported "
        f"on {report.sum()}, where a vote of all samples has {full.generated[report].mean():.0f} "
        f"tokens and is right on {100 * full.right[report].mean():.1f}%. Intervals: 95%.",
        "",
    ]
    _check_apart(trace.runs, given.greedy, parser)
    with tempfile.TemporaryDirectory() as folder:
        models = _fitted(given.greedy, given.tiers.split(","), Path(folder))
        fitted = {tier: FittedModel.load(path) for tier, path in models.items()}
        everything = list(ways(trace, ballot, [*fitted.values()]))
        told = [ballot.firsts[number] for number in np.flatnonzero(report)]
        groups = [":".join(family_of(run)) for run in told]
        tier = ""
        for level in _LEVELS:
            rows = [chosen(tried, full, choose, level) for tried in everything]
            ended = (row for row in rows if row.name.startswith(_OURS))
            ours = chosen(ended, full, choose, level)
            tier = ours.name.rpartition(", ")[2]
            lines += [f"Lost on the choosing part: at most {100 * level:g}%.", ""]
            lines += [*table(rows, ours, full, report, groups), ""]
        certificate = certified(
            _part(trace, ballot, choose), models[tier], Path(folder), given.risk, given.seed
        )
        if certificate is not None:
            lines += _kept(certificate, trace, ballot, report)
            if given.live:
                numbers = np.flatnonzero(report)[: given.live]
                runs = [ballot.firsts[number] for number in numbers]
                lines += ["", *_live(certificate, rows, runs, trace, given.model)]
    text = "\n".join(lines) + "\n"
    print(text)
    if given.out is not None:
        given.out.write_text(text, "utf-8")


def _check_apart(runs: Sequence[Run], greedy: Path, parser: argparse.ArgumentParser) -> None:
    """Refuse samples of questions that the learned rule is fitted on."""
    known = {name(run) for run in read_trace(greedy).runs for name in (family_hash, passage_hash)}
    for run in runs:
        if not known.isdisjoint((family_hash(run), passage_hash(run))):
            parser.error(f"greedy must be runs of other questions, got {run.question_id!r} in both")


def _kept(certificate: VoteCertificate, trace: Trace, ballot: Ballot, report: Mask) -> list[str]:
    """What the certified levels lose and save on the reported questions, as the command counts."""
    names = ("certified", "threshold", "decided at", "lost there", "saved there", "lost", "saved")
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    questions = [
        [trace.runs[number] for number in ballot.numbers[one]] for one in np.flatnonzero(report)
    ]
    fitted = FittedModel(
        certificate.model,
        tuple(sorted({level.threshold for level in certificate.levels})),
        certificate.scope,
        certificate.fitted,
    )
    found = count_votes(questions, certificate.scope, fitted, certificate.most)
    for level in certificate.levels:
        at = fitted.path.index(level.threshold), CONFIDENCES.index(level.confidence)
        cells = (
            f"{100 * level.risk:g}%",
            f"{level.threshold:.2f}",
            f"{level.confidence:g}",
            f"{level.lost} of {level.questions}",
            f"{100 * level.saving:.1f}%",
            f"{found.lost[:, at[0], at[1]].sum()} of {len(questions)}",
            f"{100 * found.saving(at):.1f}%",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _live(
    certificate: VoteCertificate,
    rows: Sequence[Way],
    runs: Sequence[Run],
    trace: Trace,
    model: str,
) -> list[str]:
    """Votes held live: of all samples, by each rule that was chosen, and the certified one."""
    booth = Booth.of(model, runs, trace.header.temperature, trace.header.max_tokens)
    risk = certificate.levels[-1].risk
    rule = certificate.rule(risk)
    full = booth.hold(VoteOfN(certificate.most), booth.whole)
    held = [Way("all samples", repr(VoteOfN(certificate.most)), full)]
    for row in rows:
        if row.rule is not None:
            print(f"live: {row.setting}")
            scores = booth.hold(row.rule, booth.whole)
            held.append(Way(row.name, row.setting, scores))
    ours = Way(
        f"certified at {100 * risk:g}% (ours)",
        repr(rule),
        booth.hold(rule, certificate.stopping(risk)),
    )
    everything = np.ones(len(runs), dtype=np.bool_)
    groups = [":".join(family_of(run)) for run in runs]
    return [
        f"Live, on {len(runs)} of the reported questions, the model's own draws: each way decides "
        "while the model writes.",
        "",
        *table([*held, ours], ours, full, everything, groups),
    ]


def _mask(numbers: Sequence[int], length: int) -> Mask:
    mask = np.zeros(length, dtype=np.bool_)
    mask[list(numbers)] = True
    return mask


if __name__ == "__main__":
    main()
