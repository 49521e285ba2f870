"""Beam search with and without an early end, side by side: ``python -m benchmarks.beams``.

Each question is answered in every way, in turns, so that all comparisons are paired; seconds are
those of computing, as a busy machine counts others too. The questions are the synthetic testbed's,
and an answer is done, says the policy, when the reasoning first states a result; that is then
graded, and else what follows the reasoning. With ``--trace`` the embedded model is asked what it
was in recorded runs, and an answer is done with its first sentence. Decoded tokens are forward
steps times beams.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.testbed.solutions import CLOSE, RESULTS
from stopping_core import AdaptiveStopping, Boundary
from stopping_core.metrics import GRADERS
from stopping_core.policies import Threshold
from stopping_core.resampling import GroupBootstrap, Interval
from stopping_core.signals import AnswerPattern, Sentences
from stopping_core.traces.store import read_trace
from transformers_stopping import AdaptiveBeamSearch, AdaptiveStoppingCriteria, load

_STATED = "|".join(result.partition(" {")[0] for result in RESULTS)
AT_RESULT = AdaptiveStopping(
    policy=Threshold(
        AnswerPattern(rf"(?:{_STATED}) (?P<answer>-?\d+)\."),
        at_least=1,
        reason="result",
        forced=True,
    ),
    reasoning_tags=("<nothing>", "</nothing>"),  # the reasoning is what is read and cut
)
AT_SENTENCE = AdaptiveStopping(
    policy=Threshold(Sentences(), at_least=1, at=Boundary.SENTENCE, reason="sentence")
)
OFF = AdaptiveStopping(mode="off")
_HEADS = (
    "way",
    "right",
    "more right",
    "steps",
    "of the steps",
    "decoded tokens",
    "seconds",
    "of the time",
    "same text",
)
BASE = 'beams, early_stopping="never"'


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt, and how its answer is graded; questions of a group are right or wrong together."""

    prompt: str
    gold: Sequence[str]
    grader: str
    group: str


@dataclass(frozen=True, slots=True)
class Answered:
    """One question, answered in one way.

    Args:
        text: What was generated, or what the policy left of it.
        right: Whether that is right.
        steps: Forward steps.
        tokens: Those times beams.
        seconds: Of computing, on one thread.
    """

    text: str
    right: bool
    steps: int
    tokens: int
    seconds: float


class Asker:
    """Asks a model questions, in every way.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        stopping: Says when an answer is done.
        beams: Of all ways but greedy decoding, >= 2.
        max_tokens: Of each answer, >= 1.
        reasons: Whether the answer follows the reasoning, where nothing was cut.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        stopping: AdaptiveStopping,
        *,
        beams: int,
        max_tokens: int,
        reasons: bool,
    ) -> None:
        self._model: Any = model  # its class does not show that it generates
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._reasons = reasons
        self._steps = 0
        model.register_forward_hook(self._count)
        several = {"num_beams": beams}
        self.ways: dict[str, tuple[AdaptiveStopping, dict[str, Any]]] = {
            "greedy": (OFF, {}),
            "greedy, policy": (stopping, {}),
            "beams, early_stopping=True": (OFF, {**several, "early_stopping": True}),
            "beams, early_stopping=False": (OFF, {**several, "early_stopping": False}),
            BASE: (OFF, {**several, "early_stopping": "never"}),
            "ours, no policy": (OFF, {**several, "ours": True}),
            "beams, policy, early_stopping=False": (stopping, several),
            "ours, policy": (stopping, {**several, "ours": True}),
        }

    def ask(self, question: Question, way: str) -> Answered:
        """Answer a question in one of the ways."""
        stopping, given = self.ways[way]
        settings = dict(given)
        if settings.pop("ours", False):
            settings["custom_generate"] = AdaptiveBeamSearch(self._tokenizer, stopping)
        elif stopping.mode != "off":
            settings["stopping_criteria"] = [AdaptiveStoppingCriteria(self._tokenizer, stopping)]
        read = self._tokenizer(question.prompt, return_tensors="pt", add_special_tokens=False)
        ids = read["input_ids"]
        self._steps, start = 0, time.process_time()
        made = self._model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=self._max_tokens,
            **settings,
        )
        seconds = time.process_time() - start
        new = made[0, ids.shape[1] :]
        text = str(self._tokenizer.decode(new, skip_special_tokens=True)).strip()
        whole = not self._reasons or (stopping.mode != "off" and CLOSE not in text)
        answer = text if whole else text.partition(CLOSE)[2]
        right = GRADERS[question.grader](answer, question.gold) >= 1
        tokens = self._steps * settings.get("num_beams", 1)
        return Answered(text, right, self._steps, tokens, seconds)

    def _count(self, *_: Any) -> None:
        self._steps += 1


def read_questions(path: Path) -> list[Question]:
    """Read the testbed's questions, or the prompts of recorded runs."""
    if path.suffix == ".parquet":
        runs = read_trace(path).runs
        return [Question(run.prompt, run.gold, run.grader, str(run.group)) for run in runs]
    told = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [Question(f"{q['question']}\n", q["gold"], q["grader"], q["group"]) for q in told]


def table(answers: dict[str, list[Answered]], groups: Sequence[str]) -> list[str]:
    """Write the figures as Markdown, with 95% bootstrap intervals over the groups.

    Args:
        answers: Of each way, one a question.
        groups: The questions' groups.
    """
    bootstrap = GroupBootstrap(groups)
    base = answers[BASE]
    lines = [f"| {' | '.join(_HEADS)} |", "|---" * len(_HEADS) + "|"]
    for way, some in answers.items():
        right = [float(one.right) for one in some]
        pairs = list(zip(some, base, strict=True))
        figures = (
            _percent(np.mean(right), bootstrap.share(right)),
            _ratio([(one.right - other.right, 1) for one, other in pairs], bootstrap),
            f"{np.mean([one.steps for one in some]):.1f}",
            _ratio([(one.steps, other.steps) for one, other in pairs], bootstrap),
            f"{np.mean([one.tokens for one in some]):.0f}",
            f"{np.mean([one.seconds for one in some]):.2f}",
            _ratio([(one.seconds, other.seconds) for one, other in pairs], bootstrap),
            f"{sum(one.text == other.text for one, other in pairs)}",
        )
        lines.append(f"| {way} | {' | '.join(figures)} |")
    return lines


def _ratio(pairs: Sequence[tuple[float, float]], bootstrap: GroupBootstrap) -> str:
    ours, theirs = zip(*pairs, strict=True)
    return _percent(sum(ours) / sum(theirs), bootstrap.ratio(ours, theirs))


def _percent(value: Any, interval: Interval) -> str:
    return f"{100 * value:.1f}% ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def main() -> None:
    """Measure all ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("build/synthetic-testbed"))
    parser.add_argument("--trace", type=Path, help="recorded runs, for their prompts")
    parser.add_argument("--questions", type=int, default=48, help="how many, from the first on")
    parser.add_argument("--beams", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=400)
    parser.add_argument("--out", type=Path, help="write the table there, Markdown")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model, tokenizer = load(None if asked.trace else asked.model, progress=False)
    asker = Asker(
        model,
        tokenizer,
        AT_SENTENCE if asked.trace else AT_RESULT,
        beams=asked.beams,
        max_tokens=asked.max_tokens,
        reasons=asked.trace is None,
    )
    questions = read_questions(asked.trace or asked.model / "questions.jsonl")[: asked.questions]
    answers: dict[str, list[Answered]] = {way: [] for way in asker.ways}
    ways = list(asker.ways)
    for number, question in enumerate(questions):
        turn = number % len(ways)
        for way in (*ways[turn:], *ways[:turn]):
            answers[way].append(asker.ask(question, way))
        print(f"{number + 1} of {len(questions)}", flush=True)
    lines = [
        f"{len(questions)} questions of {asked.trace or asked.model}, {asked.beams} beams, at most "
        f"{asked.max_tokens} tokens, one thread. More right, of the steps, of the time and "
        f"same text: against `{BASE}`. 95% bootstrap intervals over questions.",
        "",
        *table(answers, [question.group for question in questions]),
    ]
    if asked.out is not None:
        asked.out.write_text("\n".join(lines) + "\n", "utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
