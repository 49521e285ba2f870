"""The dashboard for Grafana over these metrics, as Prometheus spells them."""

from __future__ import annotations

from importlib.resources import files


def dashboard() -> str:
    """Return the dashboard as JSON, in Grafana's classic model: paste it under "Import".

    It is for Grafana 12 and later (schema version 42), and asks for a Prometheus data source. Its
    variables tell tenants and use cases apart, so it expects the default segments of
    :class:`~stopping_core.telemetry.Telemetry`; without them it shows the sum.
    """
    return files("stopping_core.telemetry").joinpath("grafana.json").read_text(encoding="utf-8")
