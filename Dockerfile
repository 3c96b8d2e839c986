# Two images from one file: `server` (the last stage, and so the default) has extauthz alone, `mesh` adds the issuer and
# the upstreams of the demo. Both run without root and with a read-only root file system.

FROM python:3.11.15-slim-bookworm AS base
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# What it keeps (SQLite, keys, the audit log) goes to /var/lib/extauthz, where a volume can be mounted.
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin extauthz \
 && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/extauthz

# The locked requirements first: they change less often than the code, so their layer is kept.
FROM base AS locked
WORKDIR /src
COPY requirements/runtime.txt requirements/runtime.txt
RUN python -m venv /opt/extauthz \
 && /opt/extauthz/bin/python -m pip install --no-cache-dir --require-hashes --only-binary=:all: --requirement requirements/runtime.txt

# A wheel with the decision path as machine code (docs/decisions/0017). Not the slim image, since this one has the C
# compiler already; the wheel is all that leaves it.
FROM python:3.11.15-bookworm AS compiler
WORKDIR /src
COPY --from=locked /opt/extauthz /opt/extauthz
COPY requirements/compiled.txt requirements/compiled.txt
RUN /opt/extauthz/bin/python -m pip install --no-cache-dir --require-hashes --only-binary=:all: --requirement requirements/compiled.txt
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY compiled compiled
COPY protos protos
COPY extauthz extauthz
# The build backend is among the locked requirements, so nothing is fetched here.
RUN /opt/extauthz/bin/python compiled/build.py \
 && /opt/extauthz/bin/python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels .

FROM locked AS build
COPY --from=compiler /wheels /wheels
RUN /opt/extauthz/bin/python -m pip install --no-cache-dir --no-index --no-deps /wheels/*.whl \
 && /opt/extauthz/bin/python -m compileall -q /opt/extauthz/lib

FROM base AS runtime
COPY --from=build /opt/extauthz /opt/extauthz
ENV PATH=/opt/extauthz/bin:$PATH
USER 10001:10001

FROM runtime AS mesh
WORKDIR /srv
COPY mesh mesh
ENTRYPOINT ["python", "-m"]
CMD ["mesh.upstreams", "--http", "0.0.0.0:8000", "--grpc", "0.0.0.0:8001"]

FROM runtime AS server
WORKDIR /etc/extauthz
EXPOSE 9000 8080 8081
HEALTHCHECK --interval=5s --timeout=3s --start-period=15s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8081/readyz', timeout=2)"]
ENTRYPOINT ["extauthz"]
CMD ["serve", "--config", "/etc/extauthz/extauthz.yaml"]
