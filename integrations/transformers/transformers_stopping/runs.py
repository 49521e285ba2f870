"""What was generated of a message: its tokens, their text, and the cache that belongs to them."""

from __future__ import annotations

from transformers import DynamicCache, PreTrainedTokenizerBase

from transformers_stopping.detokenize import Detokenizer
from transformers_stopping.loop import Token


class Run:
    """The tokens of an answer, their text, and the keys and values that belong to them.

    Args:
        tokenizer: For the text.
        ids: The prompt, with what there is of the message.
        begun: That as text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, ids: list[int], begun: str = "") -> None:
        self.ids = list(ids)
        self._begun = begun
        self.start = len(ids)
        self.cache: DynamicCache | None = None
        self.ended = False
        self._detokenizer = Detokenizer(tokenizer, ids)
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """What was given out."""
        return "".join(self._pieces)

    def up_to(self, written: str) -> list[int] | None:
        """The prompt and the fewest tokens that hold so much of the message; None where it differs.

        The session gives reasoning back without the white space before its tag.
        """
        text = self._begun + self.text
        blank = len(text) - len(text.lstrip())
        if not text[blank:].startswith(written.lstrip()):
            return None
        missing = blank + len(written.lstrip()) - len(self._begun)
        if missing < 0:
            return None
        for count, piece in enumerate(self._pieces):
            if missing <= 0:
                return self.ids[: self.start + count]
            missing -= len(piece)
        return list(self.ids)

    def add(self, token: Token) -> str:
        """Append a token; return the text that is now certain."""
        self.ids.append(token.id)
        piece = self._detokenizer.push(token.id)
        if token.finish_reason == "stop":
            piece += self._detokenizer.finish()
        self._pieces.append(piece)
        return piece

    def reopen(self, eos: frozenset[int]) -> None:
        """Make ready to go on, over the end token where the model had set one."""
        self.ended = len(self.ids) > self.start and self.ids[-1] in eos
        if self.ended:
            self.ids.pop()

    def cached(self) -> int:
        """How many of the tokens the cache holds; drops those that go beyond the last but one."""
        if self.cache is None:
            return 0
        surplus = self.cache.get_seq_length() - (len(self.ids) - 1)
        if surplus > 0:
            try:
                if not self.cache.is_croppable:
                    raise RuntimeError("recurrent states cannot be taken back")
                self.cache.crop(-surplus)
            except RuntimeError:  # nor can a sliding window that is full: read it all again
                self.cache = None
                return 0
        return len(self.ids) - 1
