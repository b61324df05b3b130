"""Run as a program: a server that may hold only a few descriptors more than it has."""

import logging
import os
import resource
import signal
import sys
import time

from netperf_exporter.http.server import Request, Response, Server, listen


def handler(request: Request) -> Response:
    if request.path == "/slow":
        time.sleep(1)
    return Response(200, b"hello")


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    listener = listen("127.0.0.1:0")
    server = Server([listener], handler)
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(fd) for fd in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + int(sys.argv[1]), hard))
    print(listener.getsockname()[1], flush=True)
    server.serve()
    server.drain(5)


if __name__ == "__main__":
    main()
