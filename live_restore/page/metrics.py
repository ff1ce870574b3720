"""The numbers of a run for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics_text(summary: dict[str, Any]) -> bytes:
    """Return the text format; ``summary`` is that of a run."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(cast("Any", _Summary(summary)))
    return bytes(generate_latest(registry))


class _Summary:
    def __init__(self, summary: dict[str, Any]) -> None:
        self._summary = summary

    def collect(self) -> Iterator[Metric]:
        """Yield every number that is known."""
        told = self._summary
        states = GaugeMetricFamily("live_restore_entries", "Entries per state.", labels=["state"])
        for state, count in told["counts"].items():
            states.add_metric([state], count)
        yield states
        pace = told["pace"]
        gauges = {
            "restored": ("Restored files and stacks.", told["counts"]["done"]),
            "failed": ("Files and stacks that could not be restored.", told["counts"]["failed"]),
            "doubtful": ("Restored, and a person should look.", told["doubtful"]),
            "doubtful_brightness": (
                "Restored, and only measuring brightness is doubtful.",
                told["doubtful_brightness"],
            ),
            "backlog": ("Complete, and not restored yet.", told["backlog"]),
            "watched": ("1 while a daemon watches the folder.", int(told["watched"])),
            "delay_seconds": ("From the last plane to the last result.", told["last_delay_s"]),
            "arrival_seconds": ("Median time between two arrivals.", pace["arrival_s"]),
            "behind_seconds": ("Growth of the delay per stack.", pace["behind_s"]),
            "last_result_timestamp_seconds": ("When it was finished.", told["last_result_at"]),
            "disk_free_bytes": ("Of the disk of the watched folder.", told["disk_free_bytes"]),
        }
        for name, (words, value) in gauges.items():
            if value is not None:
                yield GaugeMetricFamily(f"live_restore_{name}", words, value=value)
        info = InfoMetricFamily("live_restore_device", "What restored the last result.")
        info.add_metric([], {name: told[name] for name in ("device", "hardware", "model")})
        yield info
