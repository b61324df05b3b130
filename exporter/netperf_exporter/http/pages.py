"""What is found under which path."""

from __future__ import annotations

import html
import threading
from collections.abc import Collection
from urllib.parse import parse_qs

from netperf_exporter import __version__
from netperf_exporter.config import Config
from netperf_exporter.exposition.negotiation import accepts_gzip, format_for
from netperf_exporter.exposition.scrape import DEADLINE, Exporter
from netperf_exporter.http.server import Request, Response

TIMEOUT_MARGIN = 0.5
"""Seconds of the scraper's timeout that are left for sending."""

SHORTEST_DEADLINE = 0.1

UNHEALTHY_OVERRUN = 30.0
"""Seconds past its deadline after which a scrape means that the process is broken."""

_HTML = "text/html; charset=utf-8"


class Pages:
    """Answers requests.

    known: names of all collectors, enabled or not.
    stopping: set once the process is about to end; then it is no longer ready.
    """

    def __init__(self, exporter: Exporter, config: Config, known: Collection[str]) -> None:
        self.stopping = False
        self._known = known
        self._exporter = exporter
        self._config = config
        limit = config.max_requests
        self._slots = threading.BoundedSemaphore(limit) if limit else None

    def answer(self, request: Request) -> Response:
        """Answer one request. Raises nothing that a client could cause."""
        if request.path == self._config.telemetry_path:
            return self._metrics(request)
        if request.path == "/-/healthy":
            if self._exporter.overrun() > UNHEALTHY_OVERRUN:
                return Response(503, b"A scrape is far past its deadline.\n")
            return Response(200, b"Healthy.\n")
        if request.path == "/-/ready":
            return Response(503, b"Stopping.\n") if self.stopping else Response(200, b"Ready.\n")
        if request.path == "/":
            return Response(200, self._landing(), _HTML)
        return Response(404, b"Nothing here; / lists what there is.\n")

    def _metrics(self, request: Request) -> Response:
        try:
            names = self._names(request.query)
        except ValueError as error:
            return Response(400, f"{error}\n".encode())
        if self._slots is not None and not self._slots.acquire(blocking=False):
            limit = self._config.max_requests
            return Response(503, f"{limit} scrapes are being answered already.\n".encode())
        try:
            format = format_for(request.headers.get("accept", ""))
            compress = accepts_gzip(request.headers.get("accept-encoding", ""))
            seconds = _deadline(request.headers.get("x-prometheus-scrape-timeout-seconds", ""))
            body = self._exporter.scrape(names, format, compress, seconds)
        finally:
            if self._slots is not None:
                self._slots.release()
        headers: tuple[tuple[str, str], ...] = (("Vary", "Accept, Accept-Encoding"),)
        if compress:
            headers += (("Content-Encoding", "gzip"),)
        return Response(200, body, format.value, headers)

    def _names(self, query: str) -> tuple[str, ...] | None:
        """The collectors that a query chooses, None for all. Raises ValueError."""
        if not query:
            return None
        asked = parse_qs(query, keep_blank_values=True, max_num_fields=100)
        collect, exclude = asked.get("collect[]", []), asked.get("exclude[]", [])
        if collect and exclude:
            raise ValueError("collect[] and exclude[] together choose nothing")
        enabled = self._exporter.collectors
        for name in [*collect, *exclude]:
            if name not in self._known:
                raise ValueError(f"missing collector: {name}")
            if name not in enabled:
                raise ValueError(f"disabled collector: {name}")
        if exclude:
            return tuple(name for name in enabled if name not in exclude)
        return tuple(collect) or None

    def _landing(self) -> bytes:
        path = html.escape(self._config.telemetry_path)
        rows = "".join(
            f'<tr><td><a href="{path}?collect[]={name}">{name}</a></td>'
            f"<td>{html.escape(_first_sentence(collector))}</td></tr>"
            for name, collector in self._exporter.collectors.items()
        )
        return _PAGE.format(version=__version__, path=path, rows=rows).encode()


def _deadline(header: str) -> float:
    """Seconds a scrape may take, given what the scraper says it waits."""
    try:
        timeout = float(header)
    except ValueError:
        return DEADLINE
    if not timeout > 0:  # NaN too
        return DEADLINE
    return min(DEADLINE, max(SHORTEST_DEADLINE, timeout - TIMEOUT_MARGIN))


def _first_sentence(collector: object) -> str:
    text = (collector.__doc__ or "").strip().split("\n\n", 1)[0].replace("\n", " ")
    return text.partition(": ")[2]


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>netperf-exporter</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto;
       padding: 0 1rem; }}
h1 {{ margin-bottom: 0; }}
p.what {{ margin-top: 0; opacity: .75; }}
table {{ border-collapse: collapse; width: 100%; }}
td {{ border-top: 1px solid color-mix(in srgb, currentColor 20%, transparent);
      padding: .4rem .8rem .4rem 0; vertical-align: top; }}
td:first-child {{ font-family: ui-monospace, monospace; white-space: nowrap; }}
</style>
</head>
<body>
<h1>netperf-exporter</h1>
<p class="what">Version {version}. Where this host's network path loses or delays packets.</p>
<ul>
<li><a href="{path}">Metrics</a></li>
<li><a href="/-/healthy">Health</a>, <a href="/-/ready">readiness</a></li>
</ul>
<h2>Collectors</h2>
<table>
{rows}
</table>
</body>
</html>
"""
