"""Measure the synthetic testbed's model: ``python -m benchmarks.testbed.measure``.

Greedy and sampled runs to their natural end, and what the model answers where ``</think>`` is put
into its reasoning. The figures go to ``testbed.json`` beside the model.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.testbed.solutions import CLOSE

LONGEST = 1024
"""Limit on what a run generates, tokens."""

_STATED = re.compile(r"(?:answer is|That makes|This time it is) (-?\d+)")
_NUMBER = re.compile(r"-?\d+")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of a file, and its answer."""

    question: str
    gold: str
    family: str


@dataclass(frozen=True, slots=True)
class Run:
    """What the model wrote.

    Args:
        asked: The question.
        reasoning: Tokens before ``</think>``.
        tokens: All that was generated, the end included.
        stated: Results in the order in which the reasoning states them, each with the number of
            tokens up to it.
        answer: The last number after ``</think>``, or None.
    """

    asked: Asked
    reasoning: tuple[int, ...]
    tokens: int
    stated: tuple[tuple[int, str], ...]
    answer: str | None

    @property
    def right(self) -> bool:
        """Whether the answer is exactly the gold one."""
        return self.answer == self.asked.gold

    @property
    def first_right(self) -> float | None:
        """Where the right answer is first stated, as a part of the reasoning."""
        places = [place for place, value in self.stated if value == self.asked.gold]
        return places[0] / len(self.reasoning) if places else None


class Writer:
    """The trained model, asked in batches.

    Args:
        folder: Where it was saved.
        rows: Runs at a time.
        most: As ``LONGEST``.
    """

    def __init__(self, folder: Path, rows: int = 100, most: int = LONGEST) -> None:
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._rows = rows
        self._most = most

    def runs(self, asked: Sequence[Asked], temperature: float = 0.0) -> list[Run]:
        """One run a question, in the questions' order; greedy at temperature 0."""
        prompts = [self._encode(f"{one.question}\n") for one in asked]
        written = self._write(prompts, self._most, temperature)
        return [self._run(one, ids) for one, ids in zip(asked, written, strict=True)]

    def forced(self, runs: Sequence[Run], part: float) -> list[str | None]:
        """The answers where the reasoning is ended after a part of it, in [0, 1]."""
        close = self._encode(CLOSE)
        prompts = [
            [
                *self._encode(f"{run.asked.question}\n"),
                *run.reasoning[: max(1, round(part * len(run.reasoning)))],
                *close,
            ]
            for run in runs
        ]
        return [_last_number(self._decode(ids)) for ids in self._write(prompts, 16, 0.0)]

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def _run(self, asked: Asked, ids: list[int]) -> Run:
        text = self._decode(ids)
        (close,) = self._encode(CLOSE)
        length = ids.index(close) if close in ids else len(ids)
        reasoning, _, answer = text.partition(CLOSE)
        stated = tuple(
            (len(self._encode(reasoning[: found.end()])), found[1])
            for found in _STATED.finditer(reasoning)
        )
        return Run(asked, tuple(ids[:length]), len(ids), stated, _last_number(answer))

    def _write(
        self, prompts: Sequence[Sequence[int]], most: int, temperature: float
    ) -> list[list[int]]:
        written: dict[int, list[int]] = {}
        # Long questions take long: alike ones go together.
        order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
        for begin in range(0, len(order), self._rows):
            places = order[begin : begin + self._rows]
            width = max(len(prompts[place]) for place in places)
            pad = self._tokenizer.pad_token_id
            ids = torch.tensor([[pad] * (width - len(prompts[p])) + [*prompts[p]] for p in places])
            with torch.inference_mode():
                out = self._model.generate(
                    ids,
                    attention_mask=(ids != pad).long(),
                    max_new_tokens=most,
                    do_sample=bool(temperature),
                    **({"temperature": temperature, "top_k": 0} if temperature else {}),
                )
            end = self._tokenizer.eos_token_id
            for place, row in zip(places, out[:, width:].tolist(), strict=True):
                written[place] = row[: row.index(end) + 1] if end in row else row
        return [written[place] for place in range(len(prompts))]


def _last_number(text: str) -> str | None:
    found = _NUMBER.findall(text)
    return found[-1] if found else None


def load_asked(path: Path, number: int) -> list[Asked]:
    """The first questions of a file."""
    lines = [json.loads(line) for line in path.read_text().splitlines()[:number]]
    return [
        Asked(line["question"], line["gold"][0], line["id"].rpartition("-")[0]) for line in lines
    ]


def figures(runs: Sequence[Run]) -> dict[str, Any]:
    """What is told of runs to their natural end."""
    families: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        families[run.asked.family].append(run)
    places = [run.first_right for run in runs if run.first_right is not None]
    first = [(run.stated[0][1] == run.asked.gold if run.stated else False) for run in runs]
    return {
        "runs": len(runs),
        "right": _part(run.right for run in runs),
        "unended": _part(run.answer is None for run in runs),
        "tokens": _mean(run.tokens for run in runs),
        "longest": max(run.tokens for run in runs),
        "rechecks": dict(sorted(Counter(max(0, len(run.stated) - 1) for run in runs).items())),
        "first_right_at": {
            "median": round(statistics.median(places), 3) if places else None,
            "from_0.3_to_0.6": _part(0.3 <= place <= 0.6 for place in places) if places else None,
            "never": _part(run.first_right is None for run in runs),
        },
        "first_result_right": _part(first),
        "repaired": _part(not was and run.right for was, run in zip(first, runs, strict=True)),
        "spoiled": _part(was and not run.right for was, run in zip(first, runs, strict=True)),
        "lost_on_the_way": _part(run.first_right is not None and not run.right for run in runs),
        "families": {
            name: {
                "runs": len(some),
                "right": _part(run.right for run in some),
                "tokens": _mean(run.tokens for run in some),
            }
            for name, some in sorted(families.items())
        },
    }


def _part(found: Iterable[bool]) -> float:
    return _mean(float(one) for one in found)


def _mean(found: Iterable[float]) -> float:
    return round(statistics.fmean(found), 3)


def measure(
    folder: Path, *, number: int = 600, probed: int = 200, samples: int = 4
) -> dict[str, Any]:
    """All figures of a trained testbed.

    Args:
        folder: Model, tokenizer and files of questions.
        number: Questions for greedy runs.
        probed: Of those, how many are asked early.
        samples: Runs of each of 50 other questions at a temperature of 0.8.
    """
    torch.manual_seed(0)
    writer = Writer(folder)
    greedy = writer.runs(load_asked(folder / "questions.jsonl", number))
    some = greedy[:probed]
    parts = [step / 10 for step in range(11)]
    early = {
        part: _part(
            answer == run.asked.gold
            for answer, run in zip(writer.forced(some, part), some, strict=True)
        )
        for part in parts
    }
    sampled = load_asked(folder / "sampled.jsonl", 50)
    drawn = writer.runs([one for one in sampled for _ in range(samples)], temperature=0.8)
    return {"greedy": figures(greedy), "forced_right_at": early, "sampled": figures(drawn)}


def main() -> None:
    """Measure, print the figures, and keep them in ``testbed.json``."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/testbed"))
    parser.add_argument("--number", type=int, default=600)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    found = measure(chosen.folder, number=chosen.number)
    print(json.dumps(found, indent=2))
    about = chosen.folder / "testbed.json"
    about.write_text(
        json.dumps({**json.loads(about.read_text()), "measured": found}, indent=2) + "\n"
    )


if __name__ == "__main__":
    main()
