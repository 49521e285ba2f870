"""Runs of a model in this process, by transformers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from stopping_core.cli.record.task import Task
from stopping_core.embedded import MODEL
from stopping_core.questions import Question
from stopping_core.traces.journal import Key
from stopping_core.traces.run import Run
from stopping_core.types import Probe
from transformers_stopping import load
from transformers_stopping.fingerprints import fingerprint
from transformers_stopping.probing import Prober
from transformers_stopping.prompts import RenderedPrompt
from transformers_stopping.recording import Recorder, Recording

_log = logging.getLogger(__name__)

_WINDOW = 16
"""Batches whose prompts are sorted by length together, so that little is padding."""


class LocalSource:
    """A local model, batch after batch.

    Args:
        task: What to record.
        model: A folder, a GGUF file or a name on the Hub; None for the embedded weights.
        batch: Runs at once.
        threads: That compute; None leaves it to torch.

    Raises:
        ValueError: An argument is outside its interval, the model's files are damaged, its chat
            template cannot put a question, or a run and its probes go beyond its context.
        OSError: There is no such model.
    """

    def __init__(self, task: Task, model: str | None, batch: int, threads: int | None) -> None:
        try:
            loaded, self._tokenizer = load(model, progress=False)
        except OSError as error:
            if model is None or Path(model).exists():
                raise
            raise OSError(f"{error}; for an endpoint give --base-url") from error
        known_as = _known_as(model)
        self._task = task
        self._batch = batch
        self._recorder = Recorder(
            loaded,
            self._tokenizer,
            max_tokens=task.max_tokens,
            top_logprobs=task.top_logprobs,
            temperature=task.temperature,
            threads=threads,
        )
        if not self._recorder.ends:
            _log.warning(
                "%s names no end-of-sequence token: all runs go on to the cap, and there is no "
                "end probability",
                known_as,
            )
        self._prober = None
        if task.probe_every:
            self._prober = Prober(
                loaded, self._tokenizer, task.template.probe, max_tokens=task.probe_tokens
            )
        self._prompts = {
            name: self._prompt(known_as, question) for name, question in task.questions.items()
        }
        room = 0 if self._prober is None else self._prober.room
        for name, prompt in self._prompts.items():
            self._recorder.check(name, prompt.ids, room)
        self.header = task.header(
            known_as,
            fingerprint(loaded, self._tokenizer),
            self._recorder.threads,
            task.top_logprobs,
        )

    def batched(self, keys: list[Key]) -> list[list[Key]]:
        """Share out runs, prompts of like length together."""
        batches = []
        window = _WINDOW * self._batch
        for first in range(0, len(keys), window):
            near = keys[first : first + window]
            near.sort(key=lambda key: len(self._prompts[key[0]].ids))
            batches += [near[at : at + self._batch] for at in range(0, len(near), self._batch)]
        return batches

    def record(
        self,
        batches: dict[int, list[Key]],
        keep: Callable[[int, list[Run]], None],
        watch: Callable[[int], None],
    ) -> list[str]:
        """Record batches in turn; there is nothing that could fail for one question alone."""
        for number, keys in batches.items():
            prompts = [self._prompts[name] for name, _ in keys]
            recordings = self._recorder.record(
                [prompt.ids for prompt in prompts],
                [self._task.seed_of(key) for key in keys],
                watch,
            )
            probes = self._probes(prompts, recordings)
            runs = [
                self._task.run(
                    key, prompt.text, len(prompt.ids), probes=found, **recording.columns()
                )
                for key, prompt, recording, found in zip(
                    keys, prompts, recordings, probes, strict=True
                )
            ]
            keep(number, runs)
        return []

    def _probes(
        self, prompts: list[RenderedPrompt], recordings: list[Recording]
    ) -> list[dict[int, Probe]]:
        """Probe a batch; what asks while the model thinks is answered by more than a line."""
        found: list[dict[int, Probe]] = [{} for _ in recordings]
        if self._prober is None:
            return found
        where = [self._task.places(one.tokens) for one in recordings]
        for thinks in (True, False):
            rows = [
                row
                for row, one in enumerate(recordings)
                if where[row] and self._task.thinks(one.tokens) is thinks
            ]
            probes = self._prober.probe(
                [prompts[row].ids for row in rows],
                [recordings[row].ids for row in rows],
                [where[row] for row in rows],
                one_line=not thinks,
            )
            for row, one in zip(rows, probes, strict=True):
                tokens = recordings[row].tokens
                found[row] = {at: self._task.said(tokens, probe) for at, probe in one.items()}
        return found

    def _prompt(self, model: str, question: Question) -> RenderedPrompt:
        template = self._task.template
        if not template.chat:
            return RenderedPrompt(self._tokenizer, template.text(question))
        try:
            return RenderedPrompt(self._tokenizer, template.messages(question))
        except (ValueError, ImportError):
            raise
        except Exception as error:  # a chat template is a program, and fails as it likes
            raise ValueError(
                f"{model}: its chat template cannot put the question {question.id!r}: "
                f"{type(error).__name__}: {error}"
            ) from error


def _known_as(model: str | None) -> str:
    """A model's name: a file's or folder's own, as where it lies concerns nobody else."""
    if model is None:
        return MODEL
    path = Path(model)
    return path.resolve().name if path.exists() else model
