"""The names of what is measured: OpenTelemetry's for generative AI where it has one, else ours.

The GenAI names are those of ``opentelemetry-semantic-conventions`` 0.66b2, whose GenAI part is in
development and has moved to a repository of its own (semantic-conventions-genai). They stand here
because that package comes with the SDK, and only the API is needed to measure. A test holds them
against it.
"""

from __future__ import annotations

from typing import Final

ERROR_TYPE: Final = "error.type"
OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
MODEL: Final = "gen_ai.request.model"
MAX_TOKENS: Final = "gen_ai.request.max_tokens"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
OUTPUT_TYPE: Final = "gen_ai.output.type"
TOKEN_TYPE: Final = "gen_ai.token.type"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"

TOKEN_USAGE: Final = "gen_ai.client.token.usage"
DURATION: Final = "gen_ai.client.operation.duration"

TOKEN_BOUNDS: Final = tuple(float(4**power) for power in range(14))
"""Bucket bounds of :data:`TOKEN_USAGE`, tokens, as the conventions recommend."""

DURATION_BOUNDS: Final = tuple(round(0.01 * 2**power, 2) for power in range(14))
"""Bucket bounds of :data:`DURATION`, seconds, as the conventions recommend."""

SCOPE: Final = "stopping_core.telemetry"
OURS: Final = "stopping."
"""What our own names begin with."""

OTHER: Final = "other"
"""What stands for a value that is one too many, or is none to show."""

OTHER_ERROR: Final = "_OTHER"
"""The conventions' word for an error without a name."""
