# docker build -t netperf-exporter .
# docker run --network host --read-only --cap-drop ALL -v /proc:/host/proc:ro -v /sys:/host/sys:ro \
#   netperf-exporter --path.procfs=/host/proc --path.sysfs=/host/sys
#
# BASE: any image with Python 3.11 or newer and its venv module (Debian: python3 python3-venv).
ARG BASE=docker.io/library/python:3.11-slim-bookworm

# hadolint ignore=DL3006  (the default has a tag)
FROM ${BASE} AS build
WORKDIR /src
# Two environments: the one that is shipped has neither pip nor build tools.
RUN python3 -m venv /build && python3 -m venv --without-pip /opt/netperf-exporter
COPY requirements.txt requirements-build.txt ./
RUN /build/bin/pip install --no-cache-dir --require-hashes -r requirements-build.txt \
 && /build/bin/pip --python /opt/netperf-exporter/bin/python3 install \
      --no-cache-dir --require-hashes -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
RUN /build/bin/pip wheel --no-cache-dir --no-deps --no-index --no-build-isolation -w dist . \
 && /build/bin/pip --python /opt/netperf-exporter/bin/python3 install \
      --no-cache-dir --no-deps --no-index dist/*.whl

# hadolint ignore=DL3006  (the default has a tag)
FROM ${BASE}
LABEL org.opencontainers.image.title="netperf-exporter" \
      org.opencontainers.image.description="Prometheus exporter for the health of the Linux network path" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY LICENSE /usr/share/doc/netperf-exporter/LICENSE
COPY --from=build /opt/netperf-exporter /opt/netperf-exporter
# Where the health check asks: change it along with --web.listen-address.
ENV PATH=/opt/netperf-exporter/bin:$PATH HEALTH_ADDRESS=localhost:19100
USER 65534:65534
EXPOSE 19100
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["python3", "-c", "\
import http.client, os, sys; \
asked = http.client.HTTPConnection(os.environ['HEALTH_ADDRESS'], timeout=4); \
asked.request('GET', '/-/healthy'); \
sys.exit(asked.getresponse().status != 200)"]
ENTRYPOINT ["netperf-exporter"]
