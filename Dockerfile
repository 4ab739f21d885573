# The web tier as an image: `docker build -t rl-hud:0.1.0 .`
#
# Any base with Python 3.11 or newer and its venv module will do: --build-arg BASE=…
# pip gets what it needs from its usual index; another one: --build-arg PIP_INDEX_URL=…; none at all: put the wheels
# into wheelhouse/ beside this file and give --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/src/wheelhouse
ARG BASE=docker.io/library/python:3.13-slim-bookworm

FROM ${BASE} AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_NO_INDEX
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
USER 0
WORKDIR /src
COPY . .
# Each version and its hash stands in requirements/web.txt. pip stays out of the image: it has an environment of its own.
# Tests and type stubs, which nothing opens, go too.
RUN python3 -m venv /opt/pip \
    && python3 -m venv --without-pip /opt/hud \
    && /opt/pip/bin/python -m pip --python /opt/hud/bin/python install --require-hashes -r requirements/web.txt \
    && /opt/pip/bin/python -m pip --python /opt/hud/bin/python install --no-deps . \
    && find /opt/hud -depth \( -name tests -o -name test \) -type d -exec rm -rf {} + \
    && find /opt/hud -name '*.pyi' -delete \
    && chmod -R a+rX,go-w /opt/hud

FROM ${BASE}
LABEL org.opencontainers.image.title="rl-hud" \
      org.opencontainers.image.description="The live head-up display for reinforcement learning" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/hud /opt/hud
# HUD_HOST: the default is loopback, which nobody outside of the container reaches.
# HUD_VIEW_PORT: for whoever comes from outside; one can look there, and never write.
ENV PATH=/opt/hud/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HUD_HOST=0.0.0.0 \
    HUD_PORT=8086 \
    HUD_VIEW_PORT=8087 \
    HUD_LOG_FORMAT=json
EXPOSE 8086 8087
# Nothing is written, so any user id will do, as OpenShift gives them out.
USER 10001:0
WORKDIR /opt/hud
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python3", "-IS", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"HUD_PORT\"]}/health', timeout=2)"]
ENTRYPOINT ["hud"]
CMD ["serve"]
