"""Refits at the times of a crontab, one after the other."""

from __future__ import annotations

import signal
from datetime import datetime
from types import FrameType

import typer
from apscheduler.schedulers.blocking import BlockingScheduler
from apscheduler.triggers.cron import CronTrigger

from stopping_core.cli.refit.run import Settings, run
from stopping_core.cli.terminal import as_text
from stopping_core.errors import StoppingError


def keep_refitting(settings: Settings, cron: str) -> None:
    """Refit now and at each of these times, until the process is asked to end.

    What fails once is told, and tried again the next time; times that come while a refit is still
    at it are passed over.

    Raises:
        ValueError: ``cron`` is no crontab line.
    """
    try:
        trigger = CronTrigger.from_crontab(cron)
    except ValueError as error:
        raise ValueError(f"--cron must be five fields of a crontab, got {cron!r}: {error}") from (
            error
        )
    scheduler = BlockingScheduler()
    scheduler.add_job(
        _once,
        trigger,
        (settings,),
        next_run_time=datetime.now(trigger.timezone),
        coalesce=True,
        misfire_grace_time=None,
    )

    def end(number: int, frame: FrameType | None) -> None:
        scheduler.shutdown(wait=False)

    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, end)
    scheduler.start()


def _once(settings: Settings) -> None:
    try:
        run(settings)
    except (ValueError, OSError, ImportError, StoppingError) as error:
        typer.secho(f"stopping refit: {as_text(error)}", fg="red", err=True)
