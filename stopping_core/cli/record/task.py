"""What is recorded: the questions, the template and the settings, and how a run is put together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from stopping_core.cli.record.places import places
from stopping_core.questions import Question
from stopping_core.templates import Template
from stopping_core.traces.journal import THINKING, Asked, Key
from stopping_core.traces.run import Header, Run
from stopping_core.types import Probe


@dataclass(frozen=True, slots=True)
class Task:
    """The same for every model.

    Args:
        questions: By id, in order.
        template: How they are put.
        max_tokens: The cap of each run.
        samples: Runs a question.
        temperature: 0.0 for greedy runs.
        seed: Of the sampling.
        top_logprobs: How many of the largest logprobs to keep.
        reasoning_tags: As given, or None to tell them from the runs.
        probe_every: Tokens between two probes, line ends besides. 0 for no probes.
        probe_tokens: The most tokens a probe may take.
    """

    questions: dict[str, Question]
    template: Template
    max_tokens: int
    samples: int
    temperature: float
    seed: int
    top_logprobs: int
    reasoning_tags: tuple[str, str] | None
    probe_every: int
    probe_tokens: int

    def asked(self) -> dict[Key, Asked]:
        """All runs that the file is to hold."""
        return {
            (question.id, sample): Asked(
                question.question,
                question.context,
                question.gold,
                question.grader,
                question.group,
                question.family,
            )
            for question in self.questions.values()
            for sample in range(self.samples)
        }

    def header(self, model: str, fingerprint: str, threads: int, top_logprobs: int) -> Header:
        """What all runs of the file have in common."""
        probing = self.probe_every > 0
        return Header(
            model=model,
            model_fingerprint=fingerprint,
            template=self.template.name,
            template_fingerprint=self.template.fingerprint,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=self.seed,
            samples=self.samples,
            top_logprobs=top_logprobs,
            reasoning_tags=self.reasoning_tags,
            probe=self.template.probe if probing else "",
            probe_tokens=self.probe_tokens if probing else 0,
            probe_every=self.probe_every,
            threads=threads,
        )

    def seed_of(self, key: Key) -> int:
        """A seed of one run's own, so that it does not depend on what was run before."""
        named = f"{self.seed}:{key[1]}:{key[0]}".encode()
        return int.from_bytes(hashlib.sha256(named).digest()[:4]) >> 1  # servers take 31 bits

    def places(self, tokens: Sequence[str]) -> tuple[int, ...]:
        """Say where a run is probed: reasoning inside its tags, other text all through."""
        if not self.probe_every:
            return ()
        if self.thinks(tokens):
            return places(tokens, self.probe_every, self.reasoning_tags or THINKING)
        return () if self.reasoning_tags else places(tokens, self.probe_every)

    def thinks(self, tokens: Sequence[str]) -> bool:
        """Whether a run begins with reasoning in tags."""
        opening = (self.reasoning_tags or THINKING)[0]
        return "".join(tokens).lstrip().startswith(opening)

    def said(self, tokens: Sequence[str], probe: Probe) -> Probe:
        """Return a run's probe with all of the answer it belongs to.

        Where the words that ask also close the reasoning, what they say after its closing tag is
        the beginning of the answer, as it is in a run that closes the reasoning by itself.
        """
        if not self.thinks(tokens):
            return probe
        begun = self.template.probe.partition((self.reasoning_tags or THINKING)[1])[2]
        return replace(probe, text=begun.lstrip() + probe.text)

    def run(self, key: Key, prompt: str, prompt_tokens: int | None, **seen: Any) -> Run:
        """Put a run together: what is known of its question, and what was seen of it."""
        question = self.questions[key[0]]
        return Run(
            question_id=question.id,
            sample=key[1],
            question=question.question,
            context=question.context,
            gold=question.gold,
            grader=question.grader,
            group=question.group,
            family=question.family,
            prompt=prompt,
            prompt_tokens=prompt_tokens,
            **seen,
        )


class Source(Protocol):
    """A model that runs can be had from."""

    header: Header

    def batched(self, keys: list[Key]) -> Sequence[Sequence[Key]]:
        """Share out runs into batches: what is recorded, and lost in a kill, together."""

    def record(
        self,
        batches: dict[int, list[Key]],
        keep: Callable[[int, list[Run]], None],
        watch: Callable[[int], None],
    ) -> list[str]:
        """Record batches.

        Args:
            batches: By number.
            keep: Called with each batch that is done.
            watch: Called with the number of new tokens, from time to time.

        Returns:
            What could not be recorded, and why: a line each.
        """
