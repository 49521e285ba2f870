"""What the tests of beam search need: texts by how likely they are, and a search through them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from tests.support.tiny_model import END


class Says:
    """Logits processor: the probabilities of the next byte, by the text so far; else it rambles.

    A text that is not in the table goes on forever, with all bytes alike.
    """

    def __init__(self, tokenizer: Any, width: int, table: Mapping[str, Mapping[str, float]]):
        self.tokenizer = tokenizer
        self.width = width
        self.table = table

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        chances = torch.full_like(scores, 1e-9)
        for row, ids in enumerate(input_ids[:, self.width :].tolist()):
            likely = self.table.get(self.tokenizer.decode(ids))
            if likely is None:
                chances[row, 2:] = 1.0
            for text, chance in (likely or {}).items():
                token = self.tokenizer(text)["input_ids"][0] if text else END
                chances[row, token] = chance
        return torch.log(chances / chances.sum(dim=-1, keepdim=True))


def chain(text: str, start: int = 1) -> dict[str, dict[str, float]]:
    """Nearly certain steps through a text to its end."""
    return {text[:at]: {text[at : at + 1]: 1.0} for at in range(start, len(text) + 1)}


def run(model: Any, tokenizer: Any, prompts: list[str], **kwargs: Any) -> Any:
    """Search with four beams for at most 40 tokens, where nothing else is said; with scores."""
    inputs = tokenizer(prompts, return_tensors="pt", padding=True)
    inputs.pop("token_type_ids", None)
    scored = {"return_dict_in_generate": True, "output_scores": True}
    return model.generate(**inputs, **{"num_beams": 4, "max_new_tokens": 40, **scored, **kwargs})
