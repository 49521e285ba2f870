"""Prompts and chat messages as tokens. The one place that knows what a message looks like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from transformers import PreTrainedTokenizerBase

Prompt: TypeAlias = str | Sequence[Mapping[str, Any]]
"""A text as it is, or messages with a role and a content, which the chat template will render."""


class RenderedPrompt:
    """A prompt as the model reads it.

    Args:
        tokenizer: With a chat template, where the prompt is messages.
        prompt: Not empty. Messages that end with the assistant's are continued.

    Raises:
        ValueError: The prompt is empty, or neither a text nor messages, or there is no chat
            template for the messages.

    Attributes:
        chat: Whether it is messages.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> None:
        if not prompt:
            raise ValueError(f"prompt must not be empty, got {prompt!r}")
        if not isinstance(prompt, str) and not _are_messages(prompt):
            raise ValueError(f"prompt must be one text or one list of messages, got {prompt!r}")
        self._tokenizer = tokenizer
        self.chat = not isinstance(prompt, str)
        self.text = prompt if isinstance(prompt, str) else _render(tokenizer, prompt)
        self.question = "" if isinstance(prompt, str) else _last_question(prompt)
        self.ids = self.encode("")
        if not self.ids:
            raise ValueError(f"prompt must hold at least one token, got {prompt!r}")

    def tokens_of(self, words: str) -> list[int]:
        """Tokenise words by themselves, as they are put behind tokens that stand."""
        ids = self._tokenizer(words, add_special_tokens=False)["input_ids"]
        return [int(token) for token in ids]

    def encode(self, prefill: str) -> list[int]:
        """Tokenise the prompt with the beginning of the answer after it."""
        text = self.text + prefill
        # A template writes the special tokens itself.
        ids = self._tokenizer(text, add_special_tokens=not self.chat)["input_ids"]
        return [int(token) for token in ids]


def _are_messages(prompt: Sequence[Any]) -> bool:
    return isinstance(prompt, Sequence) and all(isinstance(m, Mapping) for m in prompt)


def _render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, Any]]) -> str:
    if not tokenizer.chat_template:
        raise ValueError(
            "tokenizer must have a chat_template to render messages; pass a text instead"
        )
    going_on = messages[-1].get("role") == "assistant"
    text = tokenizer.apply_chat_template(
        [dict(message) for message in messages],
        tokenize=False,
        add_generation_prompt=not going_on,
        continue_final_message=going_on,
    )
    return str(text)


def _last_question(messages: Sequence[Mapping[str, Any]]) -> str:
    """The last thing the user said, where it is plain text."""
    asked = [message.get("content") for message in messages if message.get("role") == "user"]
    return asked[-1] if asked and isinstance(asked[-1], str) else ""


def token_set(configured: int | Sequence[int] | None) -> frozenset[int]:
    """One, several or no special tokens, as settings name them, as a set."""
    if configured is None:
        return frozenset()
    return frozenset([configured] if isinstance(configured, int) else configured)
