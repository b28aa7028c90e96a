# Build: docker build -t scheduler-server .
# Run:   docker run -p 127.0.0.1:50051:50051 -v scheduler-state:/var/lib/scheduler-server scheduler-server
#        It speaks plaintext: publish the port on an address that only you reach, or give it TLS (docs/access.md).
# The base is a tag: pin it to a digest where builds have to be repeatable.
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore

# Dependencies change less often than code: a layer of their own, every file checked against its hash.
COPY requirements.lock requirements-build.lock ./
RUN python -m venv /opt/scheduler-server \
    && /opt/scheduler-server/bin/pip install --require-hashes --only-binary :all: -r requirements.lock \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes -r requirements-build.lock

COPY pyproject.toml README.md LICENSE ./
COPY scheduler_server scheduler_server
COPY generated generated
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/scheduler-server/bin/pip install --no-deps /wheels/*.whl \
    && /opt/scheduler-server/bin/pip check \
    && /opt/scheduler-server/bin/pip uninstall --yes pip

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="scheduler-server" \
      org.opencontainers.image.licenses="Apache-2.0"

# A fixed number, so that a volume's owner can be told in advance and Kubernetes can check runAsNonRoot.
RUN groupadd --gid 10001 scheduler \
    && useradd --uid 10001 --gid scheduler --no-create-home --home-dir /var/lib/scheduler-server --shell /usr/sbin/nologin scheduler \
    && install -d -o scheduler -g scheduler -m 0750 /var/lib/scheduler-server

COPY --from=build /opt/scheduler-server /opt/scheduler-server
ENV PATH=/opt/scheduler-server/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SCHEDULER_SERVER_LISTEN=0.0.0.0:50051 \
    SCHEDULER_SERVER_ALLOW_PLAINTEXT=true \
    SCHEDULER_STORAGE_STATE_FOLDER=/var/lib/scheduler-server

USER 10001:10001
WORKDIR /var/lib/scheduler-server
VOLUME /var/lib/scheduler-server
EXPOSE 50051

# Asks grpc.health.v1, so a server that is up but draining counts as not ready.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-m", "scheduler_server", "health", "--address", "127.0.0.1:50051"]

# Exec form: SIGTERM reaches the server, which drains and exits with 0.
STOPSIGNAL SIGTERM
ENTRYPOINT ["scheduler-server"]
CMD ["serve"]
