"""What is saved, cut, retried and lost, in OpenTelemetry's metrics and traces."""

from stopping_core.telemetry.grafana import dashboard
from stopping_core.telemetry.metrics import Loss, Telemetry
from stopping_core.telemetry.prometheus import Endpoint, serve

__all__ = ["Endpoint", "Loss", "Telemetry", "dashboard", "serve"]
