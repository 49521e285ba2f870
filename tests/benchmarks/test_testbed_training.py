"""The synthetic testbed's training, in small."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.testbed.problems import problems
from benchmarks.testbed.solutions import CLOSE, solve
from benchmarks.testbed.tokenizer import make_tokenizer
from benchmarks.testbed.train import (
    IGNORED,
    Recipe,
    batches,
    examples,
    make_example,
    make_model,
    make_testbed,
    train,
)
from stopping_core.questions import load_questions
from transformers_stopping import load

TINY = Recipe(
    tokens=40_000,
    batch_tokens=2048,
    width=32,
    layers=1,
    heads=2,
    feed_forward=64,
    rate=1e-2,
    bfloat16=False,
)
FILES = ("questions", "sampled")
TOKENIZER = make_tokenizer()


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    """Leave the machine to others."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A testbed after a few steps."""
    out = tmp_path_factory.mktemp("testbed")
    make_testbed(out, TINY, unseen=6, sampled=2)
    return out


def test_a_few_steps_lower_the_loss() -> None:
    """The mean of the last losses is well under the first one."""
    parts = batches(examples(TINY, TOKENIZER), TINY, TOKENIZER.pad_token_id)
    losses = list(train(make_model(TINY, TOKENIZER), parts, TINY))
    assert len(parts) == len(losses)
    assert sum(losses[-5:]) / 5 < 0.8 * losses[0]


def test_the_same_seed_trains_the_same_model() -> None:
    """Two trainings on one thread end in the same weights."""
    recipe = replace(TINY, tokens=5000)
    models = []
    for _ in range(2):
        parts = batches(examples(recipe, TOKENIZER), recipe, TOKENIZER.pad_token_id)
        models.append(make_model(recipe, TOKENIZER))
        list(train(models[-1], parts, recipe))
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_is_saved_loads_and_writes(folder: Path) -> None:
    """The integration loads the folder; the model writes text that the tokenizer knows."""
    loaded, tokenizer = load(folder)
    model: Any = loaded  # its class does not show the mixin that has generate
    prompt = tokenizer("What is 12 + 34?\n", return_tensors="pt", add_special_tokens=False)
    out = model.generate(**prompt, max_new_tokens=8, do_sample=False)
    assert "What is 12 + 34?\n" == tokenizer.decode(prompt["input_ids"][0])
    assert prompt["input_ids"].shape[1] < out.shape[1]
    assert torch.float32 == model.dtype


def test_what_is_saved_says_how_it_was_made(folder: Path) -> None:
    """Seed, recipe and cost stand beside the model, and so do two files of questions."""
    about = json.loads((folder / "testbed.json").read_text())
    assert "synthetic testbed" in about["what"]
    assert TINY.seed == about["recipe"]["seed"]
    assert about["parameters"] < 12_000_000
    questions, sampled = (load_questions(folder / f"{name}.jsonl") for name in FILES)
    assert (6, 2) == (len(questions), len(sampled))
    assert {"last_number"} == {one.grader for one in (*questions, *sampled)}


@pytest.mark.parametrize("cut", [0.0, 0.3, 0.99])
def test_an_example_cut_short_does_not_teach_where_to_stop(cut: float) -> None:
    """The mark put in is no label, the answer after it is, and the question never is."""
    problem = next(problems(2, "train"))
    solution = solve(problem, random.Random(2))
    example = make_example(problem, solution, TOKENIZER, cut)
    (close,) = TOKENIZER.encode(CLOSE, add_special_tokens=False)
    question = len(TOKENIZER.encode(f"{problem.question}\n", add_special_tokens=False))
    place = example.ids.index(close)
    assert len(example.ids) == len(example.labels)
    assert {IGNORED} == set(example.labels[:question])
    assert IGNORED == example.labels[place]
    assert example.ids[question:place] == example.labels[question:place]
    assert example.ids[place + 1 :] == example.labels[place + 1 :]
    assert TOKENIZER.eos_token_id == example.ids[-1]


def test_a_whole_example_teaches_everything_but_the_question() -> None:
    """Without a cut the label of each token of the solution is the token itself."""
    problem = next(problems(2, "train"))
    solution = solve(problem, random.Random(2), slip_rate=0)
    example = make_example(problem, solution, TOKENIZER)
    learned = [one for one in example.labels if one != IGNORED]
    assert solution.text == TOKENIZER.decode(learned, skip_special_tokens=True)


def test_slips_are_not_learned() -> None:
    """What is learned of a solution with slips is the text without the slips."""
    rng = random.Random(3)
    found = ((p, solve(p, rng, slip_rate=0.3)) for p in problems(3, "train"))
    problem, solution = next((p, s) for p, s in found if s.slips > 2)
    example = make_example(problem, solution, TOKENIZER)
    learned = [one for one in example.labels if one != IGNORED]
    expected = "".join(piece.text for piece in solution.pieces if piece.learned)
    text = str(TOKENIZER.decode(learned, skip_special_tokens=True))
    assert expected == text.partition(CLOSE)[0]
    assert expected != solution.reasoning
