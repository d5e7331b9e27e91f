# One image per service: docker build --build-arg SERVICE=gateway -t runyard/gateway .
#
# BASE_IMAGE is any Debian with Python 3.11 or newer. Where no registry can be reached, tools/base_image.sh makes one
# from Debian packages. `make images` builds all of them.
ARG BASE_IMAGE=python:3.12-slim-bookworm

# What all services share: tools, an environment, the dependencies of libs/chassis.
FROM ${BASE_IMAGE} AS installed
RUN for tool in git tini curl; do command -v "$tool" >/dev/null || missing="$missing $tool"; done; \
    if [ -n "$missing" ]; then \
        apt-get update && apt-get install --yes --no-install-recommends ca-certificates $missing \
        && rm -rf /var/lib/apt/lists/*; \
    fi
RUN python3 -m venv /opt/runyard \
    && groupadd --gid 10001 runyard \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin runyard
ENV PATH=/opt/runyard/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    LANG=C.UTF-8
COPY deploy/locks/common.txt /tmp/common.txt
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes --requirement /tmp/common.txt

# What this service needs beyond that: for a runner its agent's binary.
ARG SERVICE
COPY deploy/locks/${SERVICE}.txt /tmp/service.txt
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes --requirement /tmp/service.txt \
    && rm /tmp/common.txt /tmp/service.txt

FROM installed AS arranged
ARG SERVICE
COPY libs/events /source/libs/events
COPY libs/chassis /source/libs/chassis
COPY libs/runner /source/libs/runner
COPY libs/sandbox /source/libs/sandbox
COPY services/${SERVICE} /source/service
COPY deploy/arrange.py /source/
RUN python /source/arrange.py /source /app

# The last layer is our own code; it is all that a change of it changes.
FROM installed
ARG SERVICE
COPY --from=arranged /app /app
# The last is for runner-acp alone: agents are in its image (deploy/agents.Dockerfile) or are not to be had.
ENV SERVICE=${SERVICE} \
    ACP_BUNDLED=/opt/agents
USER 10001:10001
WORKDIR /
HEALTHCHECK --interval=30s --timeout=5s --retries=3 --start-period=60s \
    CMD curl --fail --silent --output /dev/null "http://127.0.0.1:${PORT:-8080}/health"
# Reaps what agents leave behind also where an engine's own init is process 1.
ENTRYPOINT ["tini", "-s", "--"]
CMD ["sh", "-c", "exec python -m runyard_$(echo \"$SERVICE\" | tr - _)"]
