"""Budget schedules: how many output tokens an answer may have by the end of the next call."""

from stopping_core.budgets.cap import cap
from stopping_core.budgets.conformal import calibrate
from stopping_core.budgets.cost import CostCeiling
from stopping_core.budgets.deadline import DeadlineBudget
from stopping_core.budgets.fitting import fit_lengths
from stopping_core.budgets.fixed import FixedBudget
from stopping_core.budgets.geometric import GeometricBudget
from stopping_core.budgets.lengths import LengthModel
from stopping_core.budgets.quantile import QuantileBudget

__all__ = [
    "CostCeiling",
    "DeadlineBudget",
    "FixedBudget",
    "GeometricBudget",
    "LengthModel",
    "QuantileBudget",
    "calibrate",
    "cap",
    "fit_lengths",
]
