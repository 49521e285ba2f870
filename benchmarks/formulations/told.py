"""The comparison as a page of Markdown."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.formulations.compare import BUDGET, Compared
from benchmarks.formulations.formulation import SETTINGS
from benchmarks.formulations.fronts import CONFIDENCE, LEVELS, RESAMPLES
from benchmarks.formulations.rows import Floats
from stopping_core.resampling import Interval

_FEWEST = 20  # units; below it a percentile interval means little

_WAYS = """\
- **a**: the rule of the library: a model of the loss that a stop brings, log p against the
  logarithm of the tokens, one threshold; **a'** the same with the threshold on p.
- **b**: boosted trees on the same labels, the threshold on p; **b'** with log p against the
  tokens.
- **c**: the hazard of the answer becoming right between two looks, times the probability that the
  run is ever right; **c1** with one threshold, **c2** with one for each band of positions, chosen
  for a price of a token on cross-fitted probabilities of the runs that are fitted on.
- **d**: optimal stopping: for a price of a token, stop where the probability of a loss is at most
  the fitted cost of going on (Longstaff and Schwartz 2001; Tsitsiklis and Van Roy 2001).
- **e**: every run cut after as many tokens, asked no check. **Oracle**: knows the gold answers; no
  rule saves more at a level.
- **and logprobs**: with five features more: the mean logprob of the first 16 tokens, that of the
  last, entropy and margin there, and how the mean of the last 8 differs from that of all.
"""


def markdown(compared: Mapping[str, Compared], *, folds: int, seed: int) -> str:
    """Write the page.

    Args:
        compared: By the name of the file.
        folds: As of :func:`~benchmarks.formulations.compare.compare`.
        seed: Likewise.
    """
    files = ", ".join(f"`{name}` ({one.runs} runs)" for name, one in compared.items())
    parts = [
        f"# Formulations of stopping\n\n"
        f"`python -m benchmarks.formulations` over {files}: {folds} folds by families, seed "
        f"{seed}; every run was cut by what was fitted on other families, and only where the "
        f"default completeness check passes.\n",
        f"Percent of the generated tokens that is saved where so many points of all runs lose an "
        f"answer that the full run has right. Each formulation has a front of at most {SETTINGS} "
        f"settings, the same ones for all folds, and the saving is interpolated on it. The "
        f"settings on a front are chosen by the same out-of-fold predictions that are reported: of "
        f"all formulations alike, so that they compare, and all savings are a little flattered. "
        f"Penalty and exponent of **a** are the library's, and may have been set on runs like "
        f"these, as its features were; nothing was searched for the others. "
        f"Brackets: {CONFIDENCE:.0%} intervals of the difference to **a**, paired over "
        f"{RESAMPLES} draws, the front made anew in each; the models are not fitted anew.\n",
        _WAYS,
    ]
    parts += [_section(name, one) for name, one in compared.items()]
    return "\n".join(parts)


def _section(name: str, one: Compared) -> str:
    unit, number = one.units
    heads = [f"{level:g} lost" for level in LEVELS]
    lines = [
        f"## {name}\n",
        f"{one.model}, `{one.template}`: {one.runs} runs of {one.families} families, {one.right} "
        f"right in full; draws over {number} {unit}.\n",
        "| " + " | ".join(["formulation", *heads, "mean", "mean less a", "at 1", "at 2"]) + " |",
        "|---|" + "---:|" * (len(heads) + 4),
    ]
    for told, figures in one.figures.items():
        less = ["", "", ""]
        if told != one.kept:
            at = [one.more[told][place] for place in (-1, LEVELS.index(1.0), LEVELS.index(2.0))]
            less = list(map(_bracket, at))
        lines.append(_line(told, [*map(_percent, _with_mean(figures[0])), *less]))
    lines.append(_line("Oracle", [*map(_percent, _with_mean(one.oracle)), "", "", ""]))
    lines.append(f"\n{_verdict(one)}\n")
    return "\n".join(lines)


def _verdict(one: Compared) -> str:
    """Say of which formulations the interval of the mean difference leaves out 0."""
    unit, number = one.units
    if number < _FEWEST:
        return f"{number} {unit} are too few for intervals: read nothing into them."
    better, worse = [], []
    for name, intervals in one.more.items():
        if name not in (one.kept, BUDGET):
            if intervals[-1].low > 0:
                better.append(name)
            if intervals[-1].high < 0:
                worse.append(name)
    return (
        f"In the mean better than **a** by more than chance: {'; '.join(better) or 'none'}. "
        f"Worse: {'; '.join(worse) or 'none'}."
    )


def _with_mean(values: Floats) -> list[float]:
    return [*values.tolist(), float(values.mean())]


def _percent(value: float) -> str:
    return f"{value:.1f}"


def _bracket(one: Interval) -> str:
    return f"[{one.low:+.1f}, {one.high:+.1f}]"


def _line(name: str, cells: list[str]) -> str:
    return f"| {name} | " + " | ".join(cells) + " |"
