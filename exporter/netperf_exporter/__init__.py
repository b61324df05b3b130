"""netperf-exporter: the health of the Linux network path as Prometheus metrics."""

__version__ = "0.1.0"
