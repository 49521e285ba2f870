"""Rounds of retrieval, and where they end: ``python -m benchmarks.rounds [DATA ...]``.

A round looks for passages with the question and the last draft, and the embedded model drafts an
answer from them. Two hops: of made-up passages, one tells who did something, and another one, which
shares no name with the question, where that person was born. DATA are further files of questions,
such as HotpotQA's or SQuAD's: all contexts of a file are what is searched.

Decoding is greedy, and :class:`~stopping_core.hybrids.Rounds` changes nothing before it ends a
loop. So each loop runs to its last round once, with calls and tokens counted, and a way to end it
leaves its beginning: what is compared is the same to the last token.
"""

from __future__ import annotations

import argparse
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
from openai import OpenAI

from benchmarks.facts import facts
from stopping_core.cli.demo.corpus import Bm25Index, Passage
from stopping_core.cli.demo.stacks import PROMPT
from stopping_core.cli.record.choose import choose
from stopping_core.embedded import EmbeddedServer
from stopping_core.hybrids import Rounds, RoundState
from stopping_core.metrics import GRADERS, f1
from stopping_core.questions import Question, load_questions
from stopping_core.resampling import GroupBootstrap, Interval

TOWNS = (
    *("Riga", "Lyon", "Oslo", "Graz", "Turin", "Ghent", "Malmo", "Porto", "Bergen", "Bilbao"),
    *("Leipzig", "Krakow", "Utrecht", "Galway", "Zagreb", "Tartu", "Basel", "Seville", "Aarhus"),
    *("Leeds", "Nantes", "Verona", "Split", "Turku"),
)
_WHO = {
    "designed": "designer of",
    "led the work on": "leader of the work on",
    "was the first captain of": "first captain of",
    "wrote": "writer of",
    "founded": "founder of",
    "leads": "leader of",
    "held the first": "host of the first",
    "won the first": "winner of the first",
}
_BORN = """\
{person} was born in {town}. School and the first years of work passed there, and many letters \
tell of them. {person} later travelled a lot and came back only once."""
_HEADS = (
    "end of the rounds",
    "calls a question",
    "of the calls",
    "output tokens",
    "of the tokens",
    "of the seconds",
    "right",
    "more right",
    "F1",
    "more F1",
    "why",
)


@dataclass(frozen=True, slots=True)
class Round:
    """One round.

    Args:
        passages: What the draft was made from.
        draft: What was answered.
        tokens: Output tokens, as the server counts them.
        seconds: Of retrieval and drafting.
    """

    passages: tuple[str, ...]
    draft: str
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Ended:
    """Where a loop ends: after so many rounds, with this answer, and why."""

    rounds: int
    answer: str
    why: str


@dataclass(frozen=True, slots=True)
class Task:
    """Questions, and the texts that are searched for their answers."""

    name: str
    questions: tuple[Question, ...]
    texts: tuple[str, ...]


Draft: TypeAlias = Callable[[str], tuple[str, int]]
"""Answers a prompt: the text, and its tokens."""

End: TypeAlias = Callable[[Sequence[Round]], Ended]
"""Ends a loop that was run to its last round."""


def two_hops(count: int, seed: int = 0) -> Task:
    """Make up questions for which two passages are needed.

    Args:
        count: How many, each on two passages of its own.
        seed: Of names and towns.
    """
    rng = random.Random(seed)
    questions: dict[str, Question] = {}
    texts: dict[str, str] = {}
    made = (one for number in itertools.count() for one in facts(count, 1000 * seed + number))
    while len(questions) < count:
        one = next(made)
        asked, context = str(one["question"]), str(one["context"])
        [person] = cast(list[str], one["gold"])
        did = next((did for did in _WHO if asked.startswith(f"Who {did} ")), None)
        if did is None or person in texts or asked in questions:
            continue
        town, what = rng.choice(TOWNS), asked.removeprefix(f"Who {did} ")
        question = f"Where was the {_WHO[did]} {what.removesuffix('?')} born?"
        questions[asked] = Question(f"two-hops-{len(questions)}", question, (town,))
        texts |= {asked: context, person: _BORN.format(person=person, town=town)}
    return Task("two hops, made up", tuple(questions.values()), tuple(texts.values()))


def read_task(path: Path, count: int) -> Task:
    """Read questions, spread over the file, and the contexts of all of them."""
    questions = load_questions(path)
    texts = (text for question in questions for text in question.context.split("\n\n"))
    kept = tuple(dict.fromkeys(text for text in texts if text.strip()))
    if not kept:
        raise ValueError(f"{path}: its questions have no context to search")
    return Task(path.name, tuple(choose(questions, count, 0, True)), kept)


def drafter(base_url: str, model: str, max_tokens: int) -> Draft:
    """Ask an endpoint, greedily."""
    client = OpenAI(base_url=base_url, api_key="none")

    def draft(prompt: str) -> tuple[str, int]:
        said = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": prompt}],
            temperature=0.0,
            max_tokens=max_tokens,
        )
        assert said.usage is not None
        return said.choices[0].message.content or "", said.usage.completion_tokens

    return draft


def run(
    question: str, search: Callable[[str], Sequence[str]], draft: Draft, most: int
) -> list[Round]:
    """Retrieve and draft, so many times."""
    made: list[Round] = []
    for _ in range(most):
        start = time.perf_counter()
        passages = tuple(search(f"{question} {made[-1].draft if made else ''}"))
        text, tokens = draft(PROMPT.format(context="\n\n".join(passages), question=question))
        made.append(Round(passages, text, tokens, time.perf_counter() - start))
    return made


def after(count: int) -> End:
    """End after so many rounds, with the last draft."""
    return lambda made: Ended(count, made[count - 1].draft, "fixed")


def settled(rounds: Rounds) -> End:
    """End where the rounds do."""

    def end(made: Sequence[Round]) -> Ended:
        state: RoundState | None = None
        for number, one in enumerate(made, 1):
            state = rounds.after(state, one.draft, one.passages)
            if state.done:
                return Ended(number, state.answer, state.why)
        raise ValueError(f"made must hold at least {rounds.most} rounds, got {len(made)}")

    return end


def ways(most: int) -> dict[str, End]:
    """Name the ways to end; the first is what all are compared with."""
    return {
        f"after {most} rounds": after(most),
        "after 1 round": after(1),
        "Rounds()": settled(Rounds(most)),
        "Rounds(alike=0.8)": settled(Rounds(most, alike=0.8)),
        "Rounds(dry=1)": settled(Rounds(most, dry=1)),
    }


def table(
    questions: Sequence[Question], loops: Sequence[Sequence[Round]], ends: Mapping[str, End]
) -> list[str]:
    """Write what the ways leave as Markdown, with 95% bootstrap intervals over the groups.

    Args:
        questions: What was asked.
        loops: The rounds of each, to the last.
        ends: The ways; all are compared with the first.
    """
    bootstrap = GroupBootstrap([question.group for question in questions])
    lines = [f"| {' | '.join(_HEADS)} |", "|---" * len(_HEADS) + "|"]
    base: list[_Cost] = []
    for way, end in ends.items():
        found = [end(made) for made in loops]
        costs = [
            _cost(question, made, one)
            for question, made, one in zip(questions, loops, found, strict=True)
        ]
        base = base or costs
        pairs = list(zip(costs, base, strict=True))
        right = [float(one.right) for one in costs]
        shares = [one.f1 for one in costs]
        even = np.ones(len(costs))
        cells = (
            way,
            f"{np.mean([one.calls for one in costs]):.2f}",
            _ratio([(one.calls, other.calls) for one, other in pairs], bootstrap),
            f"{np.mean([one.tokens for one in costs]):.0f}",
            _ratio([(one.tokens, other.tokens) for one, other in pairs], bootstrap),
            _ratio([(one.seconds, other.seconds) for one, other in pairs], bootstrap),
            _percent(np.mean(right), bootstrap.share(right)),
            _ratio([(one.right - other.right, 1) for one, other in pairs], bootstrap),
            _percent(np.mean(shares), bootstrap.ratio(shares, even)),
            _ratio([(one.f1 - other.f1, 1) for one, other in pairs], bootstrap),
            ", ".join(
                f"{why} {count}" for why, count in Counter(one.why for one in found).most_common()
            ),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


@dataclass(frozen=True, slots=True)
class _Cost:
    """Of one question in one way."""

    calls: int
    tokens: int
    seconds: float
    right: bool
    f1: float


def _cost(question: Question, made: Sequence[Round], ended: Ended) -> _Cost:
    spent = made[: ended.rounds]
    return _Cost(
        calls=ended.rounds,
        tokens=sum(one.tokens for one in spent),
        seconds=sum(one.seconds for one in spent),
        right=GRADERS[question.grader](ended.answer, question.gold) >= 1,
        f1=f1(ended.answer, question.gold),
    )


def _ratio(pairs: Sequence[tuple[float, float]], bootstrap: GroupBootstrap) -> str:
    ours, theirs = zip(*pairs, strict=True)
    return _percent(sum(ours) / sum(theirs), bootstrap.ratio(ours, theirs))


def _percent(value: float | np.floating, interval: Interval) -> str:
    return f"{100 * value:.1f}% ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def measure(task: Task, draft: Draft, most: int, k: int) -> list[str]:
    """Run every loop of a task, and write the table."""
    index = Bm25Index([Passage(str(n), "", text) for n, text in enumerate(task.texts)])

    def search(query: str) -> list[str]:
        return [one.text for one in index.search(query, k)]

    loops = []
    for number, question in enumerate(task.questions, 1):
        loops.append(run(question.question, search, draft, most))
        print(f"{task.name}: {number} of {len(task.questions)}", flush=True)
    calls, tokens = sum(map(len, loops)), sum(one.tokens for made in loops for one in made)
    return [
        f"{task.name}: {len(task.questions)} questions, {len(task.texts)} passages, {calls} calls "
        f"and {tokens} output tokens in all.",
        "",
        *table(task.questions, loops, ways(most)),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all tasks, and write their tables."""
    parser = argparse.ArgumentParser(prog="benchmarks.rounds", description=__doc__)
    parser.add_argument("data", type=Path, nargs="*", help="files of questions with contexts")
    parser.add_argument("--questions", type=int, default=40, help="of each task")
    parser.add_argument("--most", type=int, default=5, help="rounds")
    parser.add_argument("--passages", type=int, default=2, help="of each round")
    parser.add_argument("--max-tokens", type=int, default=32, help="of each draft")
    parser.add_argument("--seed", type=int, default=0, help="of what is made up")
    parser.add_argument("--out", type=Path, help="write the tables there, Markdown")
    asked = parser.parse_args(arguments)
    tasks = [two_hops(asked.questions, asked.seed)]
    tasks += [read_task(path, asked.questions) for path in asked.data]
    with EmbeddedServer() as server:
        draft = drafter(server.base_url, server.model, asked.max_tokens)
        parts = [measure(task, draft, asked.most, asked.passages) for task in tasks]
    lines = [line for part in parts for line in ("", *part)][1:]
    if asked.out is not None:
        asked.out.write_text("\n".join(lines) + "\n", "utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
