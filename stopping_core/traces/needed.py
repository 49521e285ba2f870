"""How many output tokens a recorded run would have needed."""

from __future__ import annotations

import numpy as np

from stopping_core.completeness import default_check
from stopping_core.policies import Policy
from stopping_core.protocols import CompletenessCheck
from stopping_core.traces.columns import Columns, Counts
from stopping_core.traces.sweep import cut


def needed_lengths(
    columns: Columns, policy: Policy, check: CompletenessCheck | None = None
) -> Counts:
    """Return the least budget under which a session would have been done with each run.

    That is where the policy stops it, or where the model ends: one token more than came, for the
    end of the sequence takes a token of the budget. A run that came to its cap without a stop needs
    at least the cap, which is what stands for it here. Of thinking that a policy ends, the words
    that close it and the answer count too.

    Args:
        columns: The places of the runs. Of a selection, those of all.
        policy: What cuts; :class:`~stopping_core.policies.Never` for natural lengths.
        check: Asked before a stop that is not forced; the default one where None. None is asked
            before a stop in reasoning.

    Returns:
        Tokens, >= 1.  # (runs,)

    Raises:
        MissingEvidence: As :func:`~stopping_core.traces.sweep.cut`.
    """
    columns = columns.everything
    if check is None and columns.channel == "answer":
        check = default_check()
    cuts = cut(columns, policy, check)
    ended = np.array([run.finish_reason != "length" for run in columns.runs], dtype=np.bool_)
    needed: Counts = np.maximum(cuts.generated + (ended & ~cuts.stopped), 1)
    return needed
