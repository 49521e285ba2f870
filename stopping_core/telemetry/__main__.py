"""``python -m stopping_core.telemetry`` prints the dashboard for Grafana."""

import sys

from stopping_core.telemetry.grafana import dashboard

if __name__ == "__main__":
    sys.stdout.write(dashboard())
