"""Budget schedules: how many output tokens an answer may have by the end of the next call."""

from stopping_core.budgets.cap import cap
from stopping_core.budgets.cost import CostCeiling
from stopping_core.budgets.deadline import DeadlineBudget
from stopping_core.budgets.fixed import FixedBudget
from stopping_core.budgets.geometric import GeometricBudget

__all__ = [
    "CostCeiling",
    "DeadlineBudget",
    "FixedBudget",
    "GeometricBudget",
    "cap",
]
