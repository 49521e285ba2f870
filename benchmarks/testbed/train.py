"""Train the synthetic testbed's model from scratch: ``make testbed``.

A Llama of 0.9 million parameters learns from worked solutions of reasoning-gym's problems. A
part of them is cut short by ``</think>`` anywhere, followed by what one would answer there, so that
the model can be asked early; that ``</think>`` itself is not learned, and neither are slips. Losses
count on what the model writes, never on the question.

What this recipe teaches least is to compare: the model nearly always says that a re-check gave the
same, also where it did not, and goes on with the last result. So its re-checks spoil more answers
than they repair, and stopping at the first result gains a little: ``measure`` says how much.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.testbed.problems import Problem, problems, write_questions
from benchmarks.testbed.solutions import Solution, ending, solve
from benchmarks.testbed.tokenizer import make_tokenizer

IGNORED = -100
"""The label of a token that is not learned."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that the trained model depends on.

    Args:
        seed: Of the data, the weights and their order.
        tokens: How many all examples have together, at least: questions count, padding does not.
        batch_tokens: Padded size of a batch.
        width, layers, heads, feed_forward: The model's shape.
        rate: Highest learning rate.
        warm_up: Part of the steps over which it rises, before it falls as a cosine.
        cut_share: Part of the solutions that are cut short.
        slip_rate: As for ``solve``.
        bfloat16: Whether matrices are multiplied in bfloat16, a third faster on a CPU that can.
    """

    seed: int = 1
    tokens: int = 6_000_000
    batch_tokens: int = 3072
    width: int = 128
    layers: int = 4
    heads: int = 4
    feed_forward: int = 384
    rate: float = 4e-3
    warm_up: float = 0.04
    cut_share: float = 0.2
    slip_rate: float = 0.05
    bfloat16: bool = True


@dataclass(frozen=True, slots=True)
class Example:
    """A text to learn, as tokens, and its labels."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]


def make_example(
    problem: Problem,
    solution: Solution,
    tokenizer: PreTrainedTokenizerFast,
    cut: float | None = None,
) -> Example:
    """The question and its solution, cut short where asked for.

    Args:
        problem: Gives the question.
        solution: What is learned.
        tokenizer: The testbed's.
        cut: Where the reasoning is cut, as a part of its length in [0, 1); None for not at all.
    """
    texts = [f"{problem.question}\n", *(piece.text for piece in solution.pieces)]
    question, *pieces = tokenizer(texts, add_special_tokens=False)["input_ids"]
    reasoning = [token for piece in pieces for token in piece]
    kept, belief = len(reasoning), solution.answer
    if cut is not None:
        kept = max(1, math.floor(cut * kept))
        ends = itertools.accumulate(len(piece) for piece in pieces)
        whole = sum(end <= kept for end in ends)
        belief = solution.pieces[max(0, whole - 1)].belief
    answer = tokenizer.encode(ending(belief), add_special_tokens=False)
    labels = [
        token if learned.learned else IGNORED
        for piece, learned in zip(pieces, solution.pieces, strict=True)
        for token in piece
    ][:kept]
    labels += [answer[0] if cut is None else IGNORED, *answer[1:]]
    end = [tokenizer.eos_token_id]
    ids = (*question, *reasoning[:kept], *answer, *end)
    return Example(ids, (*([IGNORED] * len(question)), *labels, *end))


def examples(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> list[Example]:
    """As many examples as the recipe has tokens for."""
    rng = random.Random(recipe.seed)
    made: list[Example] = []
    tokens = 0
    for problem in problems(recipe.seed, "train"):
        if tokens >= recipe.tokens:
            break
        solution = solve(problem, rng, recipe.slip_rate)
        cut = rng.random() if rng.random() < recipe.cut_share else None
        made.append(make_example(problem, solution, tokenizer, cut))
        tokens += len(made[-1].ids)
    return made


def batches(made: Sequence[Example], recipe: Recipe, pad: int) -> list[tuple[torch.Tensor, ...]]:
    """Ids and labels, ``(rows, length)`` each, of examples alike in length, in random order."""
    rng = random.Random(recipe.seed)
    rows: list[list[Example]] = [[]]
    for example in sorted(made, key=lambda example: len(example.ids)):
        if (len(rows[-1]) + 1) * len(example.ids) > recipe.batch_tokens:
            rows.append([])
        rows[-1].append(example)
    rng.shuffle(rows)
    return [_padded(row, pad) for row in rows if row]


def _padded(row: Sequence[Example], pad: int) -> tuple[torch.Tensor, ...]:
    length = max(len(example.ids) for example in row)
    ids = [example.ids + (pad,) * (length - len(example.ids)) for example in row]
    labels = [example.labels + (IGNORED,) * (length - len(example.labels)) for example in row]
    return torch.tensor(ids), torch.tensor(labels)


def make_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """An untrained model of the recipe's shape."""
    torch.manual_seed(recipe.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.width,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.heads,
            intermediate_size=recipe.feed_forward,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def train(
    model: LlamaForCausalLM, parts: Sequence[tuple[torch.Tensor, ...]], recipe: Recipe
) -> Iterator[float]:
    """Train on each batch once, in place; give each step's loss, nats a token.

    Muon needs three quarters of the steps that AdamW needs here, for a tenth more time a step.

    References:
        Jordan et al. (2024), "Muon: An optimizer for hidden layers in neural networks".
    """
    parameters = list(model.parameters())
    hidden = [matrix for matrix in model.model.layers.parameters() if matrix.ndim == 2]
    rest = [model.model.embed_tokens.weight, *(p for p in parameters if p.ndim == 1)]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(hidden, recipe.rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, recipe.rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: _rate(step / len(parts), recipe.warm_up)
        )
        for optimizer in optimizers
    ]
    model.train()
    for ids, labels in parts:
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
            loss = model(input_ids=ids, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        yield float(loss.detach())
    model.train(False)


def _rate(done: float, warm_up: float) -> float:
    """The learning rate as a part of the highest, after a part of the steps."""
    if done < warm_up:
        return (done + 1e-3) / warm_up
    return 0.02 + 0.98 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up))) / 2


def make_testbed(out: Path, recipe: Recipe, *, unseen: int = 2000, sampled: int = 480) -> None:
    """Train, and save model, tokenizer, questions and how it was made.

    Args:
        out: The folder.
        recipe: What the model depends on.
        unseen: Questions in ``questions.jsonl``.
        sampled: Questions in ``sampled.jsonl``.
    """
    start, computing = time.perf_counter(), time.process_time()
    tokenizer = make_tokenizer()
    made = examples(recipe, tokenizer)
    parts = batches(made, recipe, tokenizer.pad_token_id)
    print(f"{len(made)} examples, {len(parts)} steps", flush=True)
    model = make_model(recipe, tokenizer)
    losses: list[float] = []
    for loss in train(model, parts, recipe):
        losses.append(loss)
        if len(losses) % 50 == 0:
            passed = time.perf_counter() - start
            mean = sum(losses[-50:]) / 50
            print(f"step {len(losses)}, {passed:.0f} s, loss {mean:.4f}", flush=True)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    write_questions(out / "questions.jsonl", unseen, recipe.seed)
    write_questions(out / "sampled.jsonl", sampled, recipe.seed, "sampled")
    about = {
        "what": "synthetic testbed: a small reasoning model, trained from scratch",
        "recipe": asdict(recipe),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "examples": len(made),
        "last_loss": sum(losses[-50:]) / len(losses[-50:]),
        "training_seconds": round(time.perf_counter() - start),
        "computing_seconds": round(time.process_time() - computing),
        "threads": torch.get_num_threads(),
    }
    (out / "testbed.json").write_text(json.dumps(about, indent=2) + "\n")


def main() -> None:
    """Train the testbed into a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/synthetic-testbed"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=6_000_000)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    make_testbed(chosen.out, Recipe(seed=chosen.seed, tokens=chosen.tokens))


if __name__ == "__main__":
    main()
