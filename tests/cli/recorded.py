"""Recorded runs made up for the tests: what a cut saves and loses of them is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from stopping_core.traces.run import Header, Run, Trace
from stopping_core.types import Need, Probe

CITIES = ("Paris", "Rome", "Oslo", "Lima", "Cairo", "Quito", "Delhi", "Seoul", "Tunis", "Sofia")
HOLDS: frozenset[Need] = frozenset({"logprobs", "top_logprobs", "end_probability", "probes"})
EVERY = 8


def header(template: str = "explain", **changes: Any) -> Header:
    """Say what all runs of a made-up file have in common."""
    known: dict[str, Any] = {
        "model": "made-up",
        "model_fingerprint": "0123456789abcdef",
        "template": template,
        "template_fingerprint": "fedcba9876543210",
        "max_tokens": 200,
        "top_logprobs": 3,
        "holds": HOLDS,
    }
    return Header(**{**known, **changes})


def reading(questions: int = 60, seed: int = 0) -> Trace:
    """Answer in the first, second or third sentence, then ramble; three questions a group.

    A third is wrong throughout, and one in 25 is right only in its very last sentence.
    """
    rng = np.random.default_rng(seed)
    runs = []
    for number in range(questions):
        city = CITIES[number % len(CITIES)]
        wrong = CITIES[(number + 1) % len(CITIES)]
        late = number % 25 == 24
        said = wrong if number % 3 == 2 or late else city
        tokens = [" Let", " us", " see", "."] * int(rng.integers(0, 3))
        tokens += [" The", " capital", " is", f" {said}", "."]
        known = len(tokens) - 1
        for _ in range(int(rng.integers(3, 9))):
            tokens += [" It", " is", " a", " large", " and", " old", " city", "."]
        tokens += [" So", " it", " is", f" {city}", "."] if late else []
        runs.append(_run(f"q{number}", number // 3, tokens, (city,), known, said, rng, late=late))
    return Trace(header(), tuple(runs))


def reasoning(questions: int = 40, seed: int = 0) -> Trace:
    """Count up to the sum inside the thinking part, check it again, then answer."""
    rng = np.random.default_rng(seed)
    runs = []
    for number in range(questions):
        result = 10 + number
        said = result + (1 if number % 4 == 3 else 0)
        steps = int(rng.integers(1, 5))
        tokens = ["<think>"]
        for step in range(steps):
            tokens += [f"{step}", " and", f" {step}", " more", ".", "\n"]
        known = len(tokens) + 3
        tokens += ["sum", " is", f" {said}", "\n"]
        for _ in range(int(rng.integers(2, 6))):
            tokens += ["check", ":", " sum", " is", f" {said}", "\n"]
        tokens += ["</think>", "The", " answer", " is", f" {said}", "."]
        runs.append(
            _run(
                f"p{number}",
                number // 2,
                tokens,
                (str(result),),
                known,
                str(said),
                rng,
                grader="last_number",
            )
        )
    return Trace(header("testbed", reasoning_tags=("<think>", "</think>")), tuple(runs))


def sampled(questions: int = 20, samples: int = 6, seed: int = 0) -> Trace:
    """Answer each question several times, right in most of the samples."""
    rng = np.random.default_rng(seed)
    runs = []
    for number in range(questions):
        for sample in range(samples):
            said = 10 + number + int(rng.random() < 0.3)
            tokens = ["It", " is", " so", ":"] + [" more"] * int(rng.integers(4, 20))
            known = len(tokens)
            tokens += [" The", " answer", " is", f" {said}", "."]
            runs.append(
                _run(
                    f"s{number}",
                    number,
                    tokens,
                    (str(10 + number),),
                    known,
                    str(said),
                    rng,
                    grader="last_number",
                    sample=sample,
                )
            )
    return Trace(header("testbed", samples=samples, temperature=0.7), tuple(runs))


def _run(
    name: str,
    group: int,
    tokens: list[str],
    gold: tuple[str, ...],
    known: int,
    said: str,
    rng: np.random.Generator,
    *,
    grader: str = "contains",
    sample: int = 0,
    late: bool = False,
) -> Run:
    n = len(tokens)
    place = np.arange(n)
    logprobs = -rng.gamma(1.0, np.where(place <= known, 0.8, 0.1), n)
    top = np.stack([logprobs, logprobs - 1, logprobs - 2], axis=1)
    lines = {i + 1 for i, text in enumerate(tokens) if "\n" in text or "." in text}
    probes = {
        at: Probe(
            f" {said if at > known else 'unclear'}.",
            tokens=2,
            reread=30 + at,
            logprobs=(-0.05, -0.05) if at > known else (-1.5, -1.0),
            entropy=0.1 if at > known else 1.5,
        )
        for at in sorted({*range(EVERY, n, EVERY), *lines})
    }
    if late:
        probes[n] = Probe(f" {gold[0]}.", tokens=2, reread=30 + n)
    return Run(
        question_id=name,
        sample=sample,
        question=f"Which one, {name}?",
        gold=gold,
        context=f"passage {group}",
        grader=grader,
        group=f"g{group}",
        family=f"f{group // 2}",
        prompt=f"passage {group} Which one, {name}?",
        prompt_tokens=30,
        finish_reason="stop",
        tokens=tuple(tokens),
        logprobs=logprobs.astype(np.float32),
        top_logprobs=top.astype(np.float32),
        entropy=(-logprobs).astype(np.float32),
        margin=np.exp(logprobs).astype(np.float32),
        end_probability=np.where(place == n - 1, 0.6, 0.01).astype(np.float32),
        seconds=(0.05 * (place + 1)).astype(np.float32),
        probes=probes,
    )
