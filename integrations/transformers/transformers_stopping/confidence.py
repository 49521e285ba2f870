"""What a distribution over the next token says of the model's confidence."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Confidence(NamedTuple):
    """Readings of one distribution; fields as in ``stopping_core.Step``."""

    logprob: float | None = None
    top_logprobs: tuple[float, ...] | None = None
    entropy: float | None = None
    margin: float | None = None


UNKNOWN = Confidence()


def confidence(logits: torch.Tensor, tokens: torch.Tensor, top: int) -> list[Confidence]:
    """Read the confidence in the chosen tokens, exactly, over the whole vocabulary.

    Args:
        logits: Scores before the softmax, -inf where a token is ruled out.  # (rows, vocabulary)
        tokens: The tokens that were chosen.  # (rows,)
        top: How many of the largest logprobs to report, >= 0.

    Returns:
        One reading a row. The device is waited for once, whatever the number of rows.
    """
    logprobs = torch.log_softmax(logits.float(), dim=-1)  # (rows, vocabulary)
    entropy = torch.special.entr(logprobs.exp()).sum(dim=-1, keepdim=True)  # (rows, 1)
    chosen = logprobs.gather(1, tokens[:, None])  # (rows, 1)
    best = logprobs.topk(min(max(top, 2), logprobs.shape[-1]), dim=-1).values  # (rows, max(top, 2))
    lead = best[:, :1].exp() - best[:, 1:2].exp()  # (rows, 1)
    table = torch.cat([chosen, entropy, lead, best[:, :top]], dim=-1).tolist()
    return [
        Confidence(
            logprob=min(row[0], 0.0),
            top_logprobs=tuple(row[3:]) if top else None,
            entropy=max(row[1], 0.0),
            margin=row[2],
        )
        for row in table
    ]
