"""What an unfinished recording is to hold, and how far it is: a folder ``FILE.parts`` beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def parts_of(path: Path) -> Path:
    """The folder of a trace file's parts, with their plan."""
    return path.with_name(f"{path.name}.parts")


def plan_file(parts: Path) -> Path:
    """What says which run belongs to which part."""
    return parts / "plan.json"


def part_file(parts: Path, number: int) -> Path:
    """Where a batch's runs lie when they are recorded."""
    return parts / f"{number:06d}.parquet"


def read_plan(parts: Path) -> dict[str, Any]:
    """Read a plan, which names header, order and batches; empty where there is none.

    Raises:
        ValueError: The plan is damaged.
    """
    path = plan_file(parts)
    if not path.exists():
        return {}
    try:
        plan = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: the plan cannot be read: {error}") from error
    if not isinstance(plan, dict) or not {"header", "order", "batches"} <= plan.keys():
        raise ValueError(f"{path}: the plan is damaged; remove its folder to begin anew")
    return plan


def unfinished(path: Path) -> str:
    """Say how far the unfinished recording of a file is; empty where there is none.

    Raises:
        ValueError: The plan is damaged.
    """
    parts = parts_of(path)
    plan = read_plan(parts)
    if not plan:
        return ""
    done = sum(
        len(batch)
        for number, batch in enumerate(plan["batches"])
        if part_file(parts, number).exists()
    )
    return (
        f"{path}: {done} of {len(plan['order'])} runs are recorded: the same `stopping record` "
        f"goes on"
    )
