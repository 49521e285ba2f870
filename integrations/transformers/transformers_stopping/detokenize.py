"""Turn tokens into text one by one, never half a character, never changing what was given out."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

_CONTEXT = 8  # tokens before the first one: a tokenizer may write a word differently at the start
_WINDOW = 16  # settled tokens that are decoded again before the window moves on
_PATIENCE = 64  # tokens that may wait for the rest of a character
_BROKEN = "\ufffd"


class Detokenizer:
    """Decodes a growing sequence of tokens in linear time.

    A token may hold a part of a character, and how it reads may depend on the token before it. So
    a short window is decoded with each token and compared with what it read before; an unfinished
    character waits until its rest comes. What was given out is never taken back: where a tokenizer
    would rewrite earlier text (it had already been shown), the new tokens are decoded by
    themselves.

    The text equals ``tokenizer.decode`` of all tokens, special tokens left out, except that bytes
    which never become a character may be shown as one replacement character more or less.

    Args:
        tokenizer: Any tokenizer.
        context: The tokens before the first one; only the last few are looked at.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, context: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._ids = list(context[-_CONTEXT:])  # the window: settled tokens, then waiting ones
        self._settled = len(self._ids)
        self._before = 0  # where the last settled group of tokens begins
        self._shown = self._decode(self._ids)

    def push(self, token: int) -> str:
        """Take the next token; return the text that is now certain."""
        self._ids.append(token)
        text = self._decode(self._ids)
        if len(self._ids) - self._settled > _PATIENCE:
            return self._settle(text)
        if not text.endswith(_BROKEN):
            return self._settle(text)
        certain = text.rstrip(_BROKEN)
        if not certain.startswith(self._shown):
            return ""
        new, self._shown = certain[len(self._shown) :], certain
        return new

    def finish(self) -> str:
        """Return what was held back; more tokens may follow all the same."""
        return self._settle(self._decode(self._ids)) if len(self._ids) > self._settled else ""

    def _settle(self, text: str) -> str:
        if text.startswith(self._shown):
            new = text[len(self._shown) :]
        else:
            new = self._decode(self._ids[self._settled :])
        self._before, self._settled = self._settled, len(self._ids)
        self._shown = text
        if len(self._ids) > _WINDOW:
            del self._ids[: self._before]
            self._before, self._settled = 0, len(self._ids)
            self._shown = self._decode(self._ids)
        return new

    def _decode(self, ids: list[int]) -> str:
        if not ids:
            return ""
        text = self._tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(text)
