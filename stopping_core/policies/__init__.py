"""Stopping rules: what to decide from the readings at a checkpoint."""

from stopping_core.policies.limits import Deadline, MaxTokens, MinTokens
from stopping_core.policies.loop_guard import LoopGuard
from stopping_core.policies.never import Never
from stopping_core.policies.patience import Patience
from stopping_core.policies.policy import AllOf, AnyOf, Policy
from stopping_core.policies.threshold import Threshold

__all__ = [
    "AllOf",
    "AnyOf",
    "Deadline",
    "LoopGuard",
    "MaxTokens",
    "MinTokens",
    "Never",
    "Patience",
    "Policy",
    "Threshold",
]
