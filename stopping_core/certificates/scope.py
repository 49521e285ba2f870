"""What runs have in common that a policy was fitted or certified on, and who is of their kind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import PurePath
from typing import Any, get_args

from stopping_core.certificates.plain_file import between, pair, text
from stopping_core.plain_data import listed, members, whole_number
from stopping_core.questions import Question, is_encodable
from stopping_core.templates import Template
from stopping_core.types import Channel, Request

COMPLETENESS = "default"
"""The check asked before each cut: that of ``stopping_core.completeness.default_check``."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What holds for all of some runs, and has to hold for the requests to come.

    Args:
        model: Its name.
        model_fingerprint: Of weights, quantisation and engine, as the recording knew them.
        template: The prompt template, whole.
        frame: What stood before and after the user's message in the prompts as text: system
            message, chat template. None where it was not the same in all of them.
        channel: Where the policy acts.
        reasoning_tags: Tags that mark reasoning in the text, or None where there is none.
        every: Tokens between two checkpoints of the engine.
        look_every: Tokens between two looks of the policy.
        temperature: At which the runs were sampled; 0 for greedy ones.
        max_tokens: The cap of the runs, tokens: what a full answer may have.
        probe_tokens: The most tokens of a probe; 0 where there were none.
        question_words: Fewest and most words of a question.
        context_words: Likewise of a context; 0 where there is none.
        completeness: The check that is asked before a cut.
    """

    model: str
    model_fingerprint: str
    template: Template
    frame: tuple[str, str] | None
    channel: Channel
    reasoning_tags: tuple[str, str] | None
    every: int
    look_every: int
    temperature: float
    max_tokens: int
    probe_tokens: int
    question_words: tuple[int, int]
    context_words: tuple[int, int]
    completeness: str = COMPLETENESS

    def is_model(self, name: str) -> bool:
        """Whether a name is that of the model: folders and owners before it do not count.

        Examples:
            >>> plain = Template("mine", "{question}")
            >>> scope = Scope(
            ...     *("small-1", "", plain, None, "answer", None, 16, 2, 0.0, 256, 0),
            ...     *((1, 9), (0, 0)),
            ... )
            >>> scope.is_model("models/small-1.gguf"), scope.is_model("small-2"), scope.is_model("")
            (True, False, False)
        """
        return bool(name) and bare_model(name) == bare_model(self.model)

    def read(self, request: Request) -> tuple[str, str] | None:
        """Find question and context in a request that was made from the template.

        Args:
            request: ``question`` is the user's whole message where the template is a chat, or
                ``""`` where it has to be found in the prompt; ``prompt`` is all that was sent, or
                ``""`` where only the message is known.

        Returns:
            Question and context; None where the template is another one, or more was sent than it
            makes: another system message, an earlier turn, an image, tools.
        """
        if request.beside or request.chat not in (None, self.template.chat):
            return None
        if not self.template.chat:
            return self.template.read(request.prompt)
        message = request.question or self._framed(request.prompt)
        found = self.template.read(message)
        if found is None or not found[0].strip() or not is_encodable(message):
            return None
        sent = [one["content"] for one in self.template.messages(_question(*found))]
        known = {"", "\n\n".join(sent)}
        if self.frame is not None:
            before, after = self.frame
            known.add(before + message + after)
        return found if request.prompt in known else None

    def _framed(self, prompt: str) -> str:
        """The user's message in a prompt as the model gets it, or ``""``."""
        before, after = self.frame or ("", "")
        if not (before and after and prompt.startswith(before) and prompt.endswith(after)):
            return ""
        return prompt[len(before) : len(prompt) - len(after)]

    def unlike(self, question: str, context: str) -> str:
        """Say why a question on a context is unlike all that there were, or ``""``.

        The most that can be told of questions of another kind before they are answered: they are
        longer or shorter than any.
        """
        for name, said, (fewest, most) in (
            ("question", question, self.question_words),
            ("context", context, self.context_words),
        ):
            words = len(said.split())
            if not fewest <= words <= most:
                return f"the {name} has {words} words, certified are {fewest} to {most}"
        return ""

    def to_dict(self) -> dict[str, Any]:
        """The scope as JSON has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any, key: str = "scope") -> Scope:
        """Take what ``to_dict`` gave, after a way through JSON.

        Raises:
            ValueError: Names the key that is missing, unknown or wrong, and its value.
        """
        held = members(data, [one.name for one in fields(cls)], key)
        if held["channel"] not in get_args(Channel):
            raise ValueError(
                f"{key}.channel must be one of {get_args(Channel)}, got {held['channel']!r}"
            )
        if held["completeness"] != COMPLETENESS:
            raise ValueError(
                f"{key}.completeness must be {COMPLETENESS!r}, got {held['completeness']!r}"
            )
        return cls(
            model=text(held["model"], f"{key}.model"),
            model_fingerprint=text(held["model_fingerprint"], f"{key}.model_fingerprint"),
            template=_template(held["template"], f"{key}.template"),
            frame=pair(held["frame"], f"{key}.frame"),
            channel=held["channel"],
            reasoning_tags=pair(held["reasoning_tags"], f"{key}.reasoning_tags"),
            every=whole_number(held["every"], f"{key}.every", 1),
            look_every=whole_number(held["look_every"], f"{key}.look_every", 1),
            temperature=between(held["temperature"], f"{key}.temperature", 0, math.inf),
            max_tokens=whole_number(held["max_tokens"], f"{key}.max_tokens", 1),
            probe_tokens=whole_number(held["probe_tokens"], f"{key}.probe_tokens"),
            question_words=_span(held["question_words"], f"{key}.question_words"),
            context_words=_span(held["context_words"], f"{key}.context_words"),
        )


def _span(data: Any, key: str) -> tuple[int, int]:
    found = listed(data, key)
    if len(found) != 2:
        raise ValueError(f"{key} must hold two numbers, got {found}")
    low, high = (whole_number(one, f"{key}[{place}]") for place, one in enumerate(found))
    if low > high:
        raise ValueError(f"{key} must rise, got {[low, high]}")
    return low, high


def bare_model(model: str) -> str:
    """Return a model's name without folders, owners and the ending of its file."""
    return PurePath(model.replace("\\", "/")).name.casefold().removesuffix(".gguf")


def _question(question: str, context: str) -> Question:
    return Question("request", question, ("?",), context)


def _template(data: Any, key: str) -> Template:
    held: Mapping[str, Any] = members(data, [one.name for one in fields(Template)], key)
    try:
        return Template(**held)
    except ValueError as error:
        raise ValueError(f"{key}.{error}") from error
