"""Which certified level a request gets: by user, by load, by what was learned from feedback."""

from stopping_core.steering.bandit import LevelBandit
from stopping_core.steering.pacer import Objective, Pacer, Smoothed
from stopping_core.steering.satisfaction import Satisfaction

__all__ = ["LevelBandit", "Objective", "Pacer", "Satisfaction", "Smoothed"]
