"""Questions on made-up passages: ``python -m benchmarks.facts --out FILE.jsonl``.

A set of questions that no model has seen, of another kind than SQuAD's: short passages, names that
do not exist, one fact asked for. Each passage is a group of its own, each kind of thing a family.
"""

from __future__ import annotations

import argparse
import json
import random
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict, cast

_WORDS = Path(__file__).with_suffix(".toml")


class _Kind(TypedDict):
    passage: str
    asked: list[tuple[str, str]]


class _Words(TypedDict):
    heads: list[str]
    tails: list[str]
    first: list[str]
    kinds: dict[str, _Kind]


def facts(count: int, seed: int) -> Iterator[dict[str, object]]:
    """Yield questions as ``stopping record`` reads them.

    Args:
        count: How many, each on a passage of its own.
        seed: Of names, numbers and of what is asked for.
    """
    rng = random.Random(seed)
    words = cast(_Words, tomllib.loads(_WORDS.read_text(encoding="utf-8")))
    kinds = sorted(words["kinds"])
    for number in range(count):
        kind = kinds[number % len(kinds)]
        filled = _fill(words, rng)
        question, gold = rng.choice(words["kinds"][kind]["asked"])
        yield {
            "id": f"{kind}-{number}",
            "question": question.format(**filled),
            "gold": [gold.format(**filled)],
            "context": words["kinds"][kind]["passage"].format(**filled),
            "group": f"passage-{number}",
            "family": kind,
        }


def _fill(words: _Words, rng: random.Random) -> dict[str, str]:
    """Names that differ from each other, a year and a number."""
    places = rng.sample([head + tail for head in words["heads"] for tail in words["tails"]], 5)
    people = rng.sample(words["first"], 2)
    return {
        "name": places[0],
        "place": places[1],
        "town": places[2],
        "person": f"{people[0]} {places[3]}",
        "other": f"{people[1]} {places[4]}",
        "year": str(rng.randrange(1801, 2020)),
        "number": str(rng.randrange(21, 980)),
    }


def main() -> None:
    """Write the questions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    lines = [json.dumps(one) for one in facts(asked.count, asked.seed)]
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text("\n".join(lines) + "\n", "utf-8")
    print(f"Wrote {asked.out}: {len(lines)} questions.")


if __name__ == "__main__":
    main()
