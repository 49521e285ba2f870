"""Samples of one prompt that are decoded together, each judged by a session of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from stopping_core import (
    AdaptiveStopping,
    BudgetExhausted,
    Completion,
    Probe,
    Request,
    Session,
    Step,
    Usage,
)
from stopping_core.retry import check_complete, tell_hooks
from transformers_stopping.batches import Batch, joined, pick, read
from transformers_stopping.calls import Calls
from transformers_stopping.confidence import Confidence, confidence
from transformers_stopping.loop import Ending, Token


class Lane:
    """One sample under way: its session, its tokens and its draws.

    It makes the calls that its session asks for one after the other, as a driver does. What goes
    wrong in the session, as in a policy or a check, ends this sample and no other.

    Args:
        number: Of the sample, from 0.
        calls: What all samples have in common.
        batch: Gives the batch that it is a row of.
        stopping: What to do.
        request: What is known about it.
        seed: With the number it alone decides how the sample is drawn, >= 0.
        pays: Whether the prompt is booked to it; it is read for all samples at once.

    Attributes:
        place: Its row in the batch, once it is there.
        moved: Whether it goes on from another place than where its row ends.
        error: What ended it without a result, or None.

    Raises:
        Exception: Those of :class:`~stopping_core.Session`, and of its first call.
    """

    def __init__(
        self,
        number: int,
        calls: Calls,
        batch: Callable[[], Batch],
        stopping: AdaptiveStopping,
        request: Request,
        *,
        seed: int,
        pays: bool,
    ) -> None:
        self.number = number
        self.place: int
        self.moved = False
        self.error: Exception | None = None
        self._calls = calls
        self._batch = batch
        self._draws = np.random.default_rng((seed, number))
        self._pays = pays
        self._held = 0  # tokens of its row
        self._known = 0  # of them, those that the run begins with
        self._read = self._generated = 0  # tokens of the call under way
        self._ids: torch.Tensor  # (1, length)
        self._processors: LogitsProcessorList
        self._ending: Ending
        self._config: GenerationConfig
        self._run = calls.first()
        self._session = Session(stopping, request, prober=self._probe)
        self._begin()

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._session.done

    @property
    def rest(self) -> list[int]:
        """The tokens that the model has to read before the next one, at least one."""
        return self._run.ids[self._known :]

    @property
    def greedy(self) -> bool:
        """Whether the call under way takes the most likely token."""
        return not self._config.do_sample

    def sit(self, place: int) -> None:
        """Take note of the row of the batch that holds all of its tokens now."""
        self.place, self.moved = place, False
        self._held = self._known = len(self._run.ids)

    def start(self) -> Batch:
        """Copy what stands of its row."""
        return self._batch().start(self.place, self._known)

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        """Let the call's logits processors see the scores.

        Args:
            logits: Of the next token; they may be changed.  # (1, vocabulary)
        """
        for process in self._processors:  # the list itself looks at each one's signature first
            logits = process(self._ids, logits)
        return logits

    def draw(self) -> float:
        """A point in [0, 1), for the next token."""
        return 0.0 if self.greedy else float(self._draws.random())

    def take(self, number: int, reading: Confidence) -> None:
        """Take the next token."""
        try:
            token = torch.tensor([[number]], device=self._ids.device)
            self._ids = torch.cat([self._ids, token], dim=-1)
            taken = Token(number, reading, self._ending.reason(self._ids))
            text = self._run.add(taken)
            self._generated += 1
            usage = Usage(prompt=self._read, generated=self._generated, estimated=False)
            stop = self._session.feed(taken.step(text, usage), time.monotonic()).stop
            if (stop or taken.finish_reason is not None) and self._end():
                self._begin()
        except Exception as error:
            self.error = error
            self.abandon(error)

    def abandon(self, error: BaseException) -> None:
        """End it where something other than the model does."""
        self._session.abandon(error, time.monotonic())
        if self._session.completion.attempts:
            tell_hooks(self._session, self.completion())

    def completion(self) -> Completion:
        """What came of it."""
        made = self._session.completion
        if self._pays or not made.attempts:
            return made
        first, *later = made.attempts
        attempts = (replace(first, prompt_tokens=0), *later)
        return replace(made, attempts=attempts, usage=replace(made.usage, prompt=0))

    def _begin(self) -> None:
        """Begin the next call that wants a token of the model, if there is one."""
        while True:
            now = time.monotonic()
            call = self._session.next_call(now)
            known = self._run.ids[: self._known]
            self._run, ahead = self._calls.turn(self._run, call)
            pairs = zip(known, self._run.ids[:-1], strict=False)
            self._known = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            begun = Step(ahead, tokens=0, usage=Usage(estimated=False))  # nothing is read yet
            if call.kind == "first" or not self._session.feed(begun, now).stop:
                break
            if not self._end():
                return
        self._read, self._generated = len(self.rest), 0
        self.moved = self._known < self._held or self._read > 1
        self._calls.prepare(self._run, call, self._prepared)

    def _prepared(
        self,
        model: Any,
        input_ids: torch.Tensor,
        *,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        **model_kwargs: Any,
    ) -> None:
        """Keep what ``generate`` has prepared for a call."""
        self._ids = input_ids
        self._processors = logits_processor
        self._ending = Ending(stopping_criteria, self._calls.ends)
        self._config = generation_config

    def _end(self) -> bool:
        """End the call; return whether there is another."""
        session = self._session
        session.end(time.monotonic())
        if not session.done and not session.exhausted:
            return True
        if not session.done:
            session.give_up()
        made = self.completion()
        tell_hooks(session, made)
        try:
            check_complete(session, made)
        except BudgetExhausted as error:
            self.error = error
        return False

    def _probe(self, written: str, words: str, /, *, max_tokens: int, one_line: bool) -> Probe:
        return self._calls.ask(
            self._run,
            self.start().cache,
            written,
            words,
            max_tokens=max_tokens,
            one_line=one_line,
        )


class Lanes:
    """The samples under way, a row of the batch each: one pass of the model is a token of each.

    The prompt is read once. A row leaves the batch, and its keys and values with it, where its
    sample ends; a sample that begins joins the others. Where a sample goes on from another place
    than its last token, what is new there is read for it alone, and it joins again.

    Args:
        calls: What all samples have in common.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._lanes: list[Lane] = []  # in the order of their rows
        self._new: list[Lane] = []
        self._prompt: Batch | None = None
        self._batch: Batch
        self._paid = False
        self._ends = torch.tensor(sorted(calls.ends), dtype=torch.long)

    def __len__(self) -> int:
        return len(self._lanes) + len(self._new)

    def begin(self, number: int, stopping: AdaptiveStopping, request: Request, seed: int) -> None:
        """Begin a sample; arguments and errors as of :class:`Lane`."""
        lane = Lane(
            number,
            self._calls,
            lambda: self._batch,
            stopping,
            request,
            seed=seed,
            pays=not self._paid,
        )
        self._paid = True
        self._new.append(lane)

    def step(self) -> list[Lane]:
        """Decode one token of each sample; return those that have ended with it."""
        self._seat()
        tokens, readings = self._choose()
        lanes = self._lanes
        for lane, token, reading in zip(lanes, tokens, readings, strict=True):
            lane.take(token, reading)
        self._lanes = [lane for lane in lanes if not lane.done]
        return [lane for lane in lanes if lane.done]

    def abandon(self, error: BaseException) -> None:
        """End all samples that are under way."""
        for lane in (*self._lanes, *self._new):
            if not lane.done:
                lane.abandon(error)

    @torch.no_grad()
    def _seat(self) -> None:
        """Let the model read what each sample wants read; each then has a row of its own."""
        going = [lane for lane in self._lanes if not lane.moved]
        moved = [lane for lane in self._lanes if lane.moved]
        parts: list[Batch] = []
        for lane in moved:
            parts.append(lane.start())
            parts[-1].read(self._tokens([lane]))
        if going:
            if len(going) < len(self._batch.position):
                self._batch.select([lane.place for lane in going])
            self._batch.read(self._tokens(going))
            parts.insert(0, self._batch)
        if self._new:
            if self._prompt is None:
                self._prompt = read(self._calls.model, [self._calls.prompt.ids])
            parts.append(self._prompt.copy([0] * len(self._new)))
        self._batch = joined(parts)
        self._lanes, self._new = [*going, *moved, *self._new], []
        for place, lane in enumerate(self._lanes):
            lane.sit(place)

    @torch.no_grad()
    def _choose(self) -> tuple[list[int], list[Confidence]]:
        """Pick the next token of each sample, and read the model's confidence in it."""
        logits, lanes = self._batch.logits, self._lanes
        rows = zip(lanes, logits.chunk(len(lanes)), strict=True)
        scores = torch.cat([lane.scores(row.clone()) for lane, row in rows])
        tokens = pick(scores, [lane.draw() for lane in lanes])
        greedy = torch.tensor([lane.greedy for lane in lanes], device=tokens.device)
        tokens = torch.where(greedy, scores.argmax(dim=-1), tokens)  # (rows,)
        return tokens.tolist(), confidence(logits, tokens, self._calls.top, self._ends)

    def _tokens(self, lanes: Sequence[Lane]) -> torch.Tensor:
        """What they want read, as many tokens in each.  # (lanes, count)."""
        return torch.tensor([lane.rest for lane in lanes], device=self._calls.model.device)
