"""Runs of a model behind an OpenAI-compatible endpoint, several at a time."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
from openai import AsyncOpenAI, OpenAIError

from stopping_core.cli.record.endpoint import Endpoint, Prompt
from stopping_core.cli.record.reply import Reply
from stopping_core.cli.record.task import Task
from stopping_core.questions import Question
from stopping_core.traces.journal import Key
from stopping_core.traces.run import Run
from stopping_core.types import Probe

_log = logging.getLogger(__name__)

_TIMEOUT = 600.0
_GIVE_UP = 8
_SHOWN = 160
_NAMED = 5
_FAILURES = (OpenAIError, httpx.HTTPError, OSError, ValueError, RecursionError)
_NAMES = ("id", "root", "parent", "max_model_len")
_MEASURES = (
    "ftype",
    "n_ctx_train",
    "n_embd",
    "n_params",
    "n_vocab",
    "quantization",
    "size",
    "vocab_type",
)


class ServedSource:
    """A model behind an endpoint; it is asked one token twice, to see that it answers.

    Its fingerprint is what names the model in ``/v1/models``, and ``system_fingerprint`` where both
    answers had the same. Two models that a server tells nothing of but one name cannot be told
    apart. A name that the endpoint does not know is warned of, and recorded: proxies rename.

    Args:
        task: What to record.
        base_url: As OpenAI's client takes it.
        model: Its name there.
        api_key: Sent with every call, shown nowhere.
        prefill: Whether the endpoint continues a last assistant message.
        concurrency: Calls at once.

    Raises:
        ValueError: The endpoint does not answer, or would have to continue a last message.
    """

    def __init__(
        self,
        task: Task,
        base_url: str,
        model: str,
        api_key: str,
        prefill: bool,
        concurrency: int,
    ) -> None:
        if task.template.chat and not prefill:
            if task.template.assistant:
                raise ValueError(
                    f"the template {task.template.name!r} begins the reply: say --prefill where "
                    f"the endpoint continues a last assistant message (llama.cpp, vLLM)"
                )
            if task.probe_every:
                raise ValueError(
                    "probes continue the reply: say --prefill where the endpoint continues a last "
                    "assistant message (llama.cpp, vLLM), or use a template without a chat"
                )
        self._task = task
        self._base_url = base_url
        self._model = model
        self._api_key = api_key
        self._concurrency = concurrency
        self._in_a_row = 0  # failures, of all calls
        self._prompts = {name: self._prompt(one) for name, one in task.questions.items()}
        fingerprint = asyncio.run(self._reach())
        self.header = task.header(model, fingerprint, 0, task.top_logprobs)

    def batched(self, keys: list[Key]) -> list[list[Key]]:
        """Record every run by itself."""
        return [[key] for key in keys]

    def record(
        self,
        batches: dict[int, list[Key]],
        keep: Callable[[int, list[Run]], None],
        watch: Callable[[int], None],
    ) -> list[str]:
        """Record runs; those that fail, each after its retries, are left for another time."""
        return asyncio.run(self._record(batches, keep, watch))

    async def _record(
        self,
        batches: dict[int, list[Key]],
        keep: Callable[[int, list[Run]], None],
        watch: Callable[[int], None],
    ) -> list[str]:
        failed: list[str] = []
        left = iter(batches.items())

        async def work(endpoint: Endpoint) -> None:
            for number, (key,) in left:
                if self._in_a_row >= _GIVE_UP:
                    failed.append(f"{_named(key)}: not tried, {self._in_a_row} in a row had failed")
                    continue
                try:
                    run = await self._run(endpoint, key)
                except _FAILURES as error:
                    self._in_a_row += 1
                    failed.append(f"{_named(key)}: {self._shown(error)}")
                    continue
                self._in_a_row = 0
                keep(number, [run])
                watch(len(run))

        async with self._client() as client:
            endpoint = Endpoint(client, self._model, self._task.top_logprobs)
            await asyncio.gather(*(work(endpoint) for _ in range(self._concurrency)))
        return failed

    async def _run(self, endpoint: Endpoint, key: Key) -> Run:
        task, prompt = self._task, self._prompts[key[0]]
        reply = await endpoint.ask(prompt, task.max_tokens, task.temperature, task.seed_of(key))
        run = task.run(
            key,
            prompt if isinstance(prompt, str) else "\n\n".join(one["content"] for one in prompt),
            reply.prompt_tokens,
            **reply.columns(task.top_logprobs, self._told),
        )
        if run.reasoning is None:  # else the text so far is no beginning of an answer
            await self._probe(endpoint, run, prompt)
        return run

    async def _probe(self, endpoint: Endpoint, run: Run, prompt: Prompt) -> None:
        """Add the probes of a run, greedy ones."""
        task = self._task
        for at in task.places(run.tokens):
            before = "".join(run.tokens[:at]) + task.template.probe
            reply = await endpoint.ask(_continued(prompt, before), task.probe_tokens)
            probe = _answer(reply, one_line=not task.thinks(run.tokens))
            run.probes[at] = task.said(run.tokens, probe)

    async def _reach(self) -> str:
        """Ask for a token twice and for what the model is; return its fingerprint."""
        async with self._client() as client:
            endpoint = Endpoint(client, self._model, self._task.top_logprobs)
            prompt = next(iter(self._prompts.values()))
            try:
                listed = await endpoint.listed()  # first, as it costs nothing
                replies = [await endpoint.ask(prompt, 1) for _ in range(2)]
            except _FAILURES as error:
                raise ValueError(f"{self._base_url}: {self._shown(error)}") from error
        self._told = any(reply.told for reply in replies)
        names = {reply.system_fingerprint for reply in replies}
        self._warn(listed, replies[-1].model)
        entry: Mapping[str, Any] = next((one for one in listed if one.get("id") == self._model), {})
        known = [self._model, _steady(entry), names.pop() if len(names) == 1 else None]
        content = json.dumps(known, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def _warn(self, listed: Sequence[Mapping[str, Any]], answering: str | None) -> None:
        """Say where the endpoint knows the model by another name; a dated version is no other."""
        ids = [one["id"] for one in listed if isinstance(one.get("id"), str)]
        why = ""
        if ids and self._model not in ids:
            others = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
            why = f"lists {', '.join(map(repr, ids[:_NAMED]))}{others}"
        elif answering is not None and not answering.startswith(self._model):
            why = f"answers as {answering!r}"
        if why:
            _log.warning(
                "%s: the endpoint %s, not %r: the runs are recorded under that name all the same",
                self._base_url,
                why,
                self._model,
            )

    def _client(self) -> AsyncOpenAI:
        return AsyncOpenAI(
            base_url=self._base_url, api_key=self._api_key, timeout=_TIMEOUT, max_retries=0
        )

    def _prompt(self, question: Question) -> Prompt:
        template = self._task.template
        return template.messages(question) if template.chat else template.text(question)

    def _shown(self, error: BaseException) -> str:
        """An error in a short line, without the key, however its quotes are escaped."""
        text = " ".join(f"{type(error).__name__}: {error}".split())
        for part in () if self._api_key == "none" else self._api_key.split():
            text = re.sub(r"\\*".join(map(re.escape, part)), "***", text)
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."


def _continued(prompt: Prompt, before: str) -> Prompt:
    """The prompt with the beginning of the reply."""
    if isinstance(prompt, str):
        return prompt + before
    if prompt[-1]["role"] == "assistant":
        return [*prompt[:-1], {"role": "assistant", "content": prompt[-1]["content"] + before}]
    return [*prompt, {"role": "assistant", "content": before}]


def _answer(reply: Reply, one_line: bool) -> Probe:
    if reply.prompt_tokens is None:
        raise ValueError("the endpoint tells no prompt_tokens: what a probe costs is not known")
    count = _line_end(reply.tokens) if one_line else len(reply.tokens)
    text = "".join(reply.tokens[:count])
    if one_line:
        blank = len(text) - len(text.lstrip())
        text = text[:blank] + text[blank:].partition("\n")[0]
    logprobs = [math.nan if one is None else one.logprob for one in reply.entries[:count]]
    known = () if any(map(math.isnan, logprobs)) else tuple(logprobs)
    return Probe(text, count, reply.prompt_tokens, known)


def _line_end(tokens: Sequence[str]) -> int:
    """Tokens until the first line that is not blank is whole."""
    for count in range(1, len(tokens) + 1):
        if "\n" in tokens[count - 1] and "\n" in "".join(tokens[:count]).lstrip():
            return count
    return len(tokens)


def _named(key: Key) -> str:
    return f"{key[0]!r}, sample {key[1]}"


def _steady(listed: Mapping[str, Any]) -> dict[str, Any]:
    """What a list's entry says of the model itself: vLLM numbers every answer, for one."""
    meta = listed.get("meta")
    measured = meta if isinstance(meta, Mapping) else {}
    named = {name: listed.get(name) for name in _NAMES}
    named |= {f"meta.{name}": measured.get(name) for name in _MEASURES}
    return {name: value for name, value in named.items() if isinstance(value, str | int | float)}
