"""Stopping that is learned from recorded runs: a model of what a stop would lose, and the rule."""

from stopping_core.policies.learned.loss_model import LossModel
from stopping_core.policies.learned.policy import LearnedStopping

__all__ = ["LearnedStopping", "LossModel"]
