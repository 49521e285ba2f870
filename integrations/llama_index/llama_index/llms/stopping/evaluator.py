"""A completeness check that LlamaIndex can evaluate a response with."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from llama_index.core.evaluation.base import BaseEvaluator, EvaluationResult
from llama_index.core.prompts.mixin import PromptDictType

from stopping_core.completeness import default_check
from stopping_core.protocols import CompletenessCheck
from stopping_core.results import Draft, Verdict
from stopping_core.types import Request


class CompletenessEvaluator(BaseEvaluator):
    """Says whether a response is complete: to ``RetryQueryEngine``, and to ``AdaptiveStopping``.

    One object does for both: as ``AdaptiveStopping(completeness=...)`` it has an answer continued
    with a larger budget, and as the evaluator of a ``RetryQueryEngine`` it has the query asked
    again, with what is missing, where even that did not help. A response that a query engine
    returns does not say why it ended, so it is taken to have ended by itself.

    Args:
        check: What is complete; the default one where None.

    Raises:
        ValueError: ``check`` cannot be called.

    Examples:
        >>> from stopping_core.completeness import EndsSentence
        >>> evaluator = CompletenessEvaluator(EndsSentence())
        >>> evaluator.evaluate("Where is Paris?", "Paris is the").passing
        False
    """

    def __init__(self, check: CompletenessCheck | None = None) -> None:
        if check is not None and (not callable(check) or isinstance(check, type)):
            raise ValueError(f"check must be callable and no class, got {check!r}")
        self.check: CompletenessCheck = default_check() if check is None else check

    @property
    def slow(self) -> bool:
        """Whether the check takes long."""
        return bool(getattr(self.check, "slow", False))

    @property
    def fast(self) -> CompletenessCheck | None:
        """What to ask before a cut in place of a slow check, where it has that."""
        check: CompletenessCheck | None = getattr(self.check, "fast", None)
        return check

    def __call__(self, request: Request, draft: Draft, /) -> Verdict:
        """Check a draft, as ``AdaptiveStopping`` asks."""
        return self.check(request, draft)

    def evaluate(
        self,
        query: str | None = None,
        response: str | None = None,
        contexts: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> EvaluationResult:
        """Check a response.

        Args:
            query: What was asked.
            response: The response; none is incomplete.
            contexts: The texts that it was made from.
            kwargs: Ignored, as LlamaIndex's own evaluators do.

        Returns:
            Whether it passes, a score of 1 or 0, and in ``feedback`` what is missing.
        """
        parts = list(contexts or ())
        request = Request(
            prompt="\n\n".join([*parts, query or ""]),
            question=query or "",
            context="\n\n".join(parts),
        )
        verdict = self.check(request, Draft(response or "", finish_reason="stop"))
        return EvaluationResult(
            query=query,
            response=response,
            contexts=contexts,
            passing=verdict.complete,
            score=float(verdict.complete),
            feedback=verdict.reason,
        )

    async def aevaluate(
        self,
        query: str | None = None,
        response: str | None = None,
        contexts: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> EvaluationResult:
        """Check a response as :meth:`evaluate` does; a slow check waits in a thread."""
        if not self.slow:
            return self.evaluate(query, response, contexts)
        return await asyncio.to_thread(self.evaluate, query, response, contexts)

    def _get_prompts(self) -> PromptDictType:
        return {}

    def _update_prompts(self, prompts_dict: PromptDictType) -> None:
        """Take none: a check has no prompts."""
