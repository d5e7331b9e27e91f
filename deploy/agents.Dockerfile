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

FROM ${BASE_IMAGE}
COPY --from=npm /opt/agents /opt/agents
ARG AGENTS
LABEL runyard.agents="${AGENTS}"
