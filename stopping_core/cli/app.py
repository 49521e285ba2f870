"""The command line: ``stopping COMMAND``."""

from __future__ import annotations

import sys

from stopping_core.errors import MissingPackage

try:
    import typer
except ModuleNotFoundError:
    sys.exit(str(MissingPackage("typer", "demo")))

from stopping_core.cli.bench.commands import bench, replay
from stopping_core.cli.certify.command import certify, certify_vote
from stopping_core.cli.dashboard.command import dashboard
from stopping_core.cli.demo.command import demo
from stopping_core.cli.doctor.command import doctor
from stopping_core.cli.fit.command import fit
from stopping_core.cli.record.command import record
from stopping_core.cli.refit.command import refit
from stopping_core.cli.release.commands import promote, rollback
from stopping_core.cli.tune.command import tune

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Stop a generation when its answer is done, check it, continue it when it is not.",
)
_COMMANDS = (demo, doctor, record, replay, bench, tune, fit, certify, certify_vote)
_IN_PRODUCTION = (refit, promote, rollback, dashboard)
for command in (*_COMMANDS, *_IN_PRODUCTION):
    app.command()(command)


def main() -> None:
    """Run the command line."""
    app()
