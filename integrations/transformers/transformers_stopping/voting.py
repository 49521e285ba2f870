"""A vote over samples of a local model, decoded together, which ends when it is decided."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stopping_core import AdaptiveStopping, Completion, Request
from stopping_core.hybrids import Decided, Poll, Purse, Scorer, Scoring, check_scorer, vote_of
from stopping_core.hybrids.polling import Polling
from stopping_core.hybrids.voting import voting
from stopping_core.policies.baselines import Sample, SampleRule, vote_key
from transformers_stopping.batches import check_whole_attention
from transformers_stopping.calls import Calls
from transformers_stopping.generation import known_request
from transformers_stopping.lanes import Lanes
from transformers_stopping.prompts import Prompt

_MORE = frozenset(
    {
        "logits_processor",
        "negative_prompt_attention_mask",
        "negative_prompt_ids",
        "prefix_allowed_tokens_fn",
    }
)
"""Keywords of ``generate`` beside its configuration that are no inputs of the model."""


def vote(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Prompt,
    rule: SampleRule,
    stopping: AdaptiveStopping,
    *,
    at_once: int = 16,
    ahead: int = 0,
    seed: int = 0,
    key: Callable[[str], Any] = vote_key,
    purse: Purse | None = None,
    scorer: Scorer | None = None,
    request: Request | None = None,
    **kwargs: Any,
) -> Poll[Completion]:
    """Sample several answers together, and take the one that most samples give, or the best.

    As many samples are begun as the rule surely wants. They are decoded in one batch, a forward
    pass for one token of each, and each is stopped, checked and continued as :func:`generate` does
    with one; an answer behind reasoning that was ended is decoded greedily. A sample that has ended
    leaves the batch, those that are begun later join it, and where the vote is decided the rest is
    dropped. Samples vote in the order in which they were begun; one that is not complete gives no
    answer.

    Each sample draws by itself, so that its text does not depend on its neighbours, save that sums
    in another order differ in their last digits: near a tie another token may win.

    The prompt is read once, and booked to the first sample; the others are booked none. A sample
    that is dropped is told to the hooks with what it has taken, as one abandoned by ``Decided``.

    Args:
        model: A decoder-only model, all of whose layers attend to the whole text.
        tokenizer: Its tokenizer.
        prompt: A text as it is, or messages for the chat template.
        rule: When the vote is decided, such as ``DecidedVote(0.95, most=16)``.
        stopping: What to do with each sample.
        at_once: Samples under way at most, >= 1.
        ahead: How many more may be begun than are surely wanted, >= 0: a shorter wait, for tokens.
        seed: Of the draws, >= 0. Questions with one seed share their draws: give each its own.
        key: What votes compare of an answer. By default the answer that it states last, else its
            first sentence; numbers as numbers.
        purse: The budget of the question; what a scorer costs is not booked.
        scorer: Is asked for the text of each complete sample that is not blank; higher is better.
        request: What is known about the request; what it leaves open is filled in.
        kwargs: As for :class:`TransformersBackend`. ``do_sample`` is True where neither it nor a
            ``generation_config`` is given; temperature, ``top_p`` and so on are those of
            ``generate``. Processors and criteria are asked about one sample at a time, and should
            keep nothing of it.

    Raises:
        ValueError: A number is out of its interval; the rule wants what it cannot have, as scores
            without a scorer; the model would not sample, or cannot be batched; or as
            :class:`TransformersBackend`.
        TypeError: ``scorer`` is a coroutine function.
        Exception: That of the first sample, where none could be drawn; the first of the scorer,
            where it left no sample with a score.

    Examples:
        >>> from stopping_core.hybrids import DecidedVote
        >>> model, tokenizer = load()  # doctest: +SKIP
        >>> messages = [{"role": "user", "content": "What is the capital of France?"}]
        >>> rule = DecidedVote(0.95, most=16)
        >>> made = vote(model, tokenizer, messages, rule, AdaptiveStopping())  # doctest: +SKIP
        >>> made.winner.text, made.votes  # doctest: +SKIP
        ('The capital of France is Paris.', ('paris', 'paris', 'paris'))
    """
    if seed < 0:
        raise ValueError(f"seed must be >= 0, got {seed}")
    check_scorer(rule, scorer, awaits=False)
    scoring = Scoring(scorer)
    calls = _calls(model, tokenizer, prompt, **kwargs)
    known = known_request(request, calls, stopping)
    lanes = Lanes(calls)
    with voting(rule, key) as own:
        polling = Polling(
            *(rule, partial(_sample, key, scoring), at_once, ahead, purse, own, stopping),
            most=known.max_tokens,
        )
        try:
            while polling.more():
                numbers = 0
                for number, settings in polling.begin(len(lanes)):
                    numbers += 1
                    try:
                        lanes.begin(number, settings, known, seed)
                    except Exception as error:
                        polling.end(number, partial(_fail, error), error)
                if lanes:
                    for lane in lanes.step():
                        polling.end(lane.number, lane.completion, lane.error)
                elif not numbers:
                    break
        except BaseException as error:
            lanes.abandon(error)
            raise
        finally:
            polling.close()
        lanes.abandon(Decided())
    made = polling.result(cancelled=len(lanes))
    scoring.report(made)  # raises where the scorer has failed
    return made


def _calls(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: Prompt, **kwargs: Any
) -> Calls:
    """Check that samples can be drawn in a batch."""
    if "generation_config" not in kwargs:
        kwargs.setdefault("do_sample", True)
    calls = Calls(model, tokenizer, prompt, **kwargs)
    config = calls.config
    if not config.do_sample:
        raise ValueError(f"do_sample must be True to draw samples, got {config.do_sample}")
    if config.temperature is not None and config.temperature <= 0:
        raise ValueError(f"temperature must be > 0 to draw samples, got {config.temperature}")
    if inputs := sorted(calls.more.keys() - _MORE):
        raise ValueError(f"kwargs must be settings of generate, got inputs of the model: {inputs}")
    check_whole_attention(model, "batched")
    config.cache_implementation = None  # the batch has its own
    return calls


def _sample(key: Callable[[str], Any], scoring: Scoring, completion: Completion) -> Sample:
    """What a completion is to the vote."""
    text = completion.text if completion.complete else ""
    return vote_of(completion, key, scoring.score(text))


def _fail(error: Exception) -> NoReturn:
    raise error
