# What the image of runner-acp stands on when agents from npm are to be in it; built by tools/images.sh for AGENTS.
# Each package is checked against the hash in its lock, nothing of it is run, and the folder is root's.
ARG BASE_IMAGE=python:3.12-slim-bookworm
ARG NODE_IMAGE=runyard/preview:latest

FROM ${NODE_IMAGE} AS npm
USER 0:0
COPY services/runner-acp/src/runyard_runner_acp/locks /tmp/locks
COPY services/runner-acp/src/runyard_runner_acp/adapters/npm.py /tmp/
ARG AGENTS
RUN python3 /tmp/npm.py /tmp/locks /opt/agents $AGENTS
# An agent that is no program of its own runs on Node, and its lock says so.
RUN mkdir /opt/runtime \
    && for agent in $AGENTS; do \
        if grep --quiet '"node":' "/tmp/locks/$agent.json"; then \
            cp --force "$(readlink -f "$(command -v node)")" /opt/runtime/node; \
        fi; \
    done

FROM ${BASE_IMAGE}
COPY --from=npm /opt/agents /opt/agents
COPY --from=npm /opt/runtime/ /usr/local/bin/
ARG AGENTS
LABEL runyard.agents="${AGENTS}"
