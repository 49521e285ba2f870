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
    end_probability: float | None = None


UNKNOWN = Confidence()


def confidence(
    logits: torch.Tensor, tokens: torch.Tensor, top: int, ends: torch.Tensor | None = None
) -> list[Confidence]:
    """Read the confidence in the chosen tokens, exactly, over the whole vocabulary.

    Args:
        logits: Scores before the softmax, -inf where a token is ruled out.  # (rows, vocabulary)
        tokens: The tokens that were chosen.  # (rows,)
        top: How many of the largest logprobs to report, >= 0.
        ends: The tokens that end a text, for the probability of them all. None where it is not
            asked for.  # (k,)

    Returns:
        One reading a row. The device is waited for once, whatever the number of rows.
    """
    logprobs = torch.log_softmax(logits.float(), dim=-1)  # (rows, vocabulary)
    entropy = torch.special.entr(logprobs.exp()).sum(dim=-1, keepdim=True)  # (rows, 1)
    chosen = logprobs.gather(1, tokens[:, None])  # (rows, 1)
    best = logprobs.topk(min(max(top, 2), logprobs.shape[-1]), dim=-1).values  # (rows, max(top, 2))
    lead = best[:, :1].exp() - best[:, 1:2].exp()  # (rows, 1)
    columns = [chosen, entropy, lead, best[:, :top]]
    if ends is not None:
        columns.append(logprobs[:, ends].exp().sum(dim=-1, keepdim=True))  # (rows, 1)
    table = torch.cat(columns, dim=-1).tolist()
    last = 3 + best[:, :top].shape[-1]
    return [
        Confidence(
            logprob=min(row[0], 0.0),
            top_logprobs=tuple(row[3:last]) if top else None,
            entropy=max(row[1], 0.0),
            margin=row[2],
            end_probability=None if ends is None else min(row[last], 1.0),
        )
        for row in table
    ]
