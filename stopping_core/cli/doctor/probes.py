"""What an endpoint takes and gives: streaming, usage, budgets, log-probabilities, prefill."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from statistics import median
from typing import Any

from stopping_core.cli.doctor.endpoint import Endpoint, Messages, Reply, Unreachable
from stopping_core.cli.doctor.findings import (
    NO,
    REPETITIONS,
    STORY,
    UNCLEAR,
    UNMEASURED,
    YES,
    Finding,
    milliseconds,
    verdict,
)

KEYWORDS = ("max_tokens", "max_completion_tokens")
VLLM_PREFILL: Mapping[str, Any] = {
    "extra_body": {"continue_final_message": True, "add_generation_prompt": False}
}

_BUDGET = 16
_THOUGHTS = 512  # tokens that a model may spend in silence before it answers
_STREAMED = 32
_MORE = 256  # where 32 tokens come in a single chunk
_FASTEST = 0.0005  # seconds a token: faster than that, chunks were held back and came together
_TOPS = (20, 5, 0)
_QUESTIONS = (
    "Tell me a short story about a river.",
    "Explain why the sky is blue.",
    "Describe a busy harbour in the morning.",
)
_HALF = 24
_SAME = 10  # letters in a row that are no accident
_REFUSED = frozenset({400, 404, 405, 415, 422, 501})
_MAY_BE_REFUSED: Mapping[str, tuple[str, Any, Any]] = {
    "max_tokens": ("budget_keyword", "max_tokens", "max_completion_tokens"),
    "temperature": ("sampling", {"temperature": 0}, {}),
    "stream": ("streams", True, False),
}
"""Keywords of a call: the endpoint's attribute, its value with the keyword, and without."""


async def reach(endpoint: Endpoint) -> Finding:
    """Get a first answer, giving up one after the other what the endpoint may refuse.

    What was given up before the one to blame was found is put back. A model that ends in silence is
    given more tokens to think; only where no event comes does it count as one that does not stream.

    Raises:
        Unreachable: It gives none.
    """
    first = reply = await endpoint.ask(STORY, _BUDGET)
    listed = await endpoint.models() if reply.status not in (None, 401, 403) else []
    given_up: list[str] = []
    left = list(_MAY_BE_REFUSED)
    while True:
        if reply.silent and reply.answered and not endpoint.headroom:
            endpoint.headroom = _THOUGHTS - _BUDGET
        elif reply.silent and not reply.answered and "stream" in left:
            given_up.append("stream")
        elif reply.status in _REFUSED - {404} and left:
            given_up.append(left[0])
        else:
            break
        left = [name for name in left if name not in given_up]
        for name in given_up:
            _send(endpoint, name, False)
        reply = await endpoint.ask(STORY, _BUDGET + endpoint.headroom)
    if reply.status is not None or not reply.tokens:
        raise Unreachable(_why(endpoint, first, listed))
    if not reply.error:
        given_up = await _to_blame(endpoint, given_up)
    evidence = f"{reply.tokens} tokens"
    if given_up:
        evidence += f", without {' and '.join(given_up)}"
    if endpoint.headroom:
        evidence += f"; it thinks in silence: the first {_BUDGET} are not shown"
    if reply.error:
        evidence += f", then {reply.error}"
    names = listed or await endpoint.models()
    if names and endpoint.model not in names:
        evidence += f"; under any name: it lists {_few(endpoint, names)}"
    return Finding("answers", YES, evidence)


async def _to_blame(endpoint: Endpoint, given_up: list[str]) -> list[str]:
    """Put back what need not have been given up, and return the rest. The last one was needed."""
    blamed = given_up[-1:]
    for name in given_up[:-1]:
        _send(endpoint, name, True)
        if not (await endpoint.ask(STORY, _BUDGET)).answered:
            _send(endpoint, name, False)
            blamed.append(name)
    return [name for name in given_up if name in blamed]


def _send(endpoint: Endpoint, name: str, sent: bool) -> None:
    """Have a keyword sent with every call, or not."""
    attribute, value, without = _MAY_BE_REFUSED[name]
    setattr(endpoint, attribute, value if sent else without)


def _why(endpoint: Endpoint, reply: Reply, listed: list[str]) -> str:
    if reply.status in (401, 403):
        hint = "" if endpoint.has_key else "; --api-key was not given"
        return f"the key is refused: {reply.error}{hint}"
    if reply.status is not None:
        models = f"; it lists {_few(endpoint, listed)}" if listed else ""
        return f"no answer from the model {endpoint.model!r}: {reply.error}{models}"
    return f"{endpoint.base_url} gives no answer: {reply.error or 'it says nothing'}"


def _few(endpoint: Endpoint, names: list[str]) -> str:
    shown = [endpoint.shown(name) for name in names[:3]]
    return ", ".join([*shown, "..."] if len(names) > len(shown) else shown)


async def budgets(endpoint: Endpoint) -> tuple[list[Finding], tuple[str, ...]]:
    """Try both keywords; return the findings, and the keywords that are obeyed."""
    findings = []
    obeyed, accepted = [], []
    marks = set()
    for keyword in KEYWORDS:
        endpoint.budget_keyword = keyword
        reply = await endpoint.ask(STORY, _BUDGET)
        said = f"{reply.tokens} tokens of {_BUDGET}, finish reason {_quoted(endpoint, reply)}"
        if reply.status is None:
            accepted.append(keyword)
        if reply.error:
            seen, said = NO if reply.status in _REFUSED else UNCLEAR, reply.error
        elif reply.tokens > _BUDGET:
            seen = NO
        elif reply.tokens == _BUDGET or reply.finish_reason == "length":
            seen = YES
            obeyed.append(keyword)
            marks |= {reply.finish_reason} - {None, "stop"}
        else:
            seen = UNCLEAR
        findings.append(Finding(f"obeys {keyword}", seen, said))
    endpoint.budget_keyword = [*obeyed, *accepted, *KEYWORDS][0]
    if marks:
        told = tuple(sorted(endpoint.shown(str(mark)) for mark in marks))
        findings.append(
            Finding(
                "truncation mark", ", ".join(told), "the finish reason", {"truncation_marks": told}
            )
        )
    elif obeyed:
        none = "an answer that the budget cut short looks like a finished one"
        findings.append(Finding("truncation mark", "none", none, {"truncation_marks": ()}))
    return findings, tuple(obeyed)


def _quoted(endpoint: Endpoint, reply: Reply) -> str:
    return repr(endpoint.shown(reply.finish_reason)) if reply.finish_reason else "none"


async def streaming(endpoint: Endpoint) -> tuple[list[Finding], bool]:
    """Measure the stream; return the findings, and whether asking for usage in it is refused."""
    if not endpoint.streams:
        return [Finding("streams", NO, "calls that ask for a stream bring no chunks")], False
    usage: dict[str, Any] = {"stream_options": {"include_usage": True}}
    budget = _STREAMED + endpoint.headroom
    replies = [await endpoint.ask(STORY, budget, **usage)]
    refusal = replies[0].error if replies[0].status in _REFUSED else ""
    if refusal:
        usage = {}
        replies.clear()
    while len(replies) < (1 if endpoint.headroom else REPETITIONS):
        replies.append(await endpoint.ask(STORY, budget, **usage))
    if all(not reply.error and reply.chunks <= 1 for reply in replies):
        replies.append(await endpoint.ask(STORY, _MORE + endpoint.headroom, **usage))
    whole = [r for r in replies if not r.error and r.first is not None and r.chunks > 1]
    if not whole:
        last = replies[-1]
        held = f"{last.tokens} tokens came in {last.chunks} chunk: held back on the way?"
        streams = Finding("streams", UNCLEAR, last.error or held)
    else:
        streams = _pace(endpoint, whole)
    if refusal:
        return [streams, Finding("usage in the stream", NO, refusal)], True
    if all(reply.error for reply in replies):
        return [streams, Finding("usage in the stream", UNCLEAR, replies[-1].error)], False
    counts = [(r.usage, r.counted) for r in replies if r.usage is not None]
    evidence = f"says {counts[0][0]} tokens, {counts[0][1]} were counted" if counts else "none came"
    return [streams, Finding("usage in the stream", verdict(bool(counts)), evidence)], False


def _pace(endpoint: Endpoint, replies: list[Reply]) -> Finding:
    first = median(reply.first or 0.0 for reply in replies)
    size = 1
    if not endpoint.headroom:  # the tokens of silent thoughts come in no chunk
        size = max(1, round(median(reply.tokens / reply.chunks for reply in replies)))
    pace = median(
        (reply.last - (reply.first or 0.0)) / max(1, (reply.chunks - 1) * size) for reply in replies
    )
    chunks = median(reply.chunks for reply in replies)
    of = f" of {size} tokens" if size > 1 else ""
    evidence = (
        f"{chunks:.0f} chunks{of}; the first after {milliseconds(first)}, then "
        f"{milliseconds(pace)} a token; medians of {len(replies)}"
    )
    if pace < _FASTEST:
        held = (
            f"{chunks:.0f} chunks came together after {milliseconds(first)}: held back on the way?"
        )
        return Finding("streams", UNCLEAR, held)
    endpoint.token_seconds, endpoint.chunk_tokens = pace, size
    figures = {"seconds_to_first_token": first, "tokens_per_second": 1 / pace}
    return Finding("streams", YES, evidence, figures=figures)


async def logprobs(endpoint: Endpoint) -> Finding:
    """Ask for log-probabilities, and for fewer alternatives where many are refused."""
    reply = Reply()
    for top in _TOPS:
        wanted = {"logprobs": True} | ({"top_logprobs": top} if top else {})
        reply = await endpoint.ask(STORY, _BUDGET + endpoint.headroom, **wanted)
        if reply.status not in _REFUSED:
            break
    given = reply.top_logprobs
    if given is None:
        if reply.error and reply.status not in _REFUSED:
            return Finding("logprobs", UNCLEAR, reply.error)
        return Finding("logprobs", NO, reply.error or "ignored", {"logprobs": False})
    row, figures = {"logprobs": True}, {"top_logprobs": given}
    return Finding("logprobs", YES, f"{given} alternatives of {top} asked for", row, figures)


async def prefill(endpoint: Endpoint) -> Finding:
    """See whether a last assistant message is continued: as it is, then as vLLM wants to be told.

    A few answers are taken and their first halves sent as the assistant's message, cut before a
    small letter. A model that goes on says the rest; one that takes its turn anew starts over or
    begins a sentence. Said in other words, it is neither.
    """
    if endpoint.headroom:
        return Finding("prefill", UNMEASURED, "it thinks in silence before it answers")
    answers: list[tuple[Messages, str, str]] = []
    for question in _QUESTIONS:
        asked: Messages = [{"role": "user", "content": question}]
        reply = await endpoint.ask(asked, _HALF)
        if halves := _halve(reply.text):
            answers.append((asked, *halves))
    if not answers:
        none = f"no answer of {_HALF} tokens could be cut in half"
        return Finding("prefill", UNMEASURED, none)
    tried = []
    for told, keywords in (("as it is", {}), ("told as vLLM is", VLLM_PREFILL)):
        seen, evidence = await _continues(endpoint, answers, keywords)
        tried.append((seen, f"{told}: {evidence}"))
        if seen == YES:
            row = {"prefill": True, "prefill_kwargs": dict(keywords)}
            return Finding("prefill", YES, tried[-1][1], row)
    evidence = "; ".join(words for _, words in tried)
    if all(seen == NO for seen, _ in tried):
        return Finding("prefill", NO, evidence, {"prefill": False})
    return Finding("prefill", UNCLEAR, evidence)


async def _continues(
    endpoint: Endpoint,
    answers: list[tuple[Messages, str, str]],
    keywords: Mapping[str, Any],
) -> tuple[str, str]:
    counts = {"went on": 0, "started over": 0, "said something else": 0}
    example = ""
    for asked, head, rest in answers:
        messages = [*asked, {"role": "assistant", "content": head}]
        reply = await endpoint.ask(messages, _HALF, **keywords)
        if reply.status in _REFUSED:
            return NO, f"refused ({reply.error})"
        if reply.error:
            return UNCLEAR, reply.error
        what = _compare(reply.text, head, rest)
        if not endpoint.streams and what == "started over":
            what = "said something else"  # whole answers of some servers begin with the prefill
        counts[what] += 1
        example = (
            example or f"{endpoint.shown(head[-24:])!r} -> {endpoint.shown(reply.text[:32])!r}"
        )
    evidence = f"{', '.join(f'{n} {what}' for what, n in counts.items() if n)}, as {example}"
    if counts["started over"] == 0 and counts["went on"] > len(answers) / 2:
        return YES, evidence
    if counts["went on"] == 0 and counts["started over"] > len(answers) / 2:
        return NO, evidence
    return UNCLEAR, evidence


def _halve(text: str) -> tuple[str, str] | None:
    """Cut a text near its middle before a word in small letters; None where there is no such place.

    Examples:
        >>> _halve("The river flows down to the distant sea")
        ('The river flows down', 'to the distant sea')
        >>> _halve("Yes.") is None
        True
    """
    words = text.split()
    for at in range(len(words) // 2, len(words)):
        head, rest = " ".join(words[:at]), " ".join(words[at:])
        if words[at].isalpha() and words[at].islower() and min(len(head), len(rest)) >= _SAME:
            return head, rest
    return None


def _compare(said: str, head: str, rest: str) -> str:
    """Tell what a model did with the first half of its own answer.

    Examples:
        >>> _compare(" to the distant sea and", "The river flows down", "to the distant sea")
        'went on'
        >>> _compare("The river flows to the", "The river flows down", "to the distant sea")
        'started over'
        >>> _compare("Rivers are", "The river flows down", "to the distant sea")
        'started over'
    """
    plain = " ".join(said.split())
    anew = _shared(plain, head) >= _SAME or plain[:1].isupper()
    if _shared(plain, rest) >= _SAME and not anew:
        return "went on"
    return "started over" if anew else "said something else"


def _shared(one: str, other: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
