# syntax=docker/dockerfile:1
# Three images: `docker build --target worker|web|modelserver`. docs/images.md says what is in them.
# What the first stages run, `python -m images.tree` runs without Docker, and a test with it.

# A version, and no digest: who builds for others adds one, as `python:…@sha256:…`.
ARG PYTHON_IMAGE=python:3.11.14-slim-trixie

# ---- the builder: uv and setuptools are here, and in no image
FROM ${PYTHON_IMAGE} AS tools
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    UV_LINK_MODE=copy
COPY requirements/build.txt requirements/build.txt
RUN ["python", "-m", "pip", "install", "--no-cache-dir", "--require-hashes", "--requirement", "requirements/build.txt"]
COPY requirements requirements
COPY images images
COPY kiosk_tasks/serving/protos.py kiosk_tasks/serving/protos.py

FROM tools AS worker-libraries
RUN --mount=type=cache,target=/root/.cache/uv ["python", "-m", "images.install", "libraries", "worker", "/opt/kiosk"]

FROM worker-libraries AS worker-files
COPY pyproject.toml README.md LICENSE celeryconfig.py ./
COPY kiosk_tasks kiosk_tasks
RUN ["python", "-m", "images.install", "package", "worker", "/opt/kiosk"]

FROM tools AS web-libraries
RUN --mount=type=cache,target=/root/.cache/uv ["python", "-m", "images.install", "libraries", "web", "/opt/kiosk"]

FROM web-libraries AS web-files
COPY pyproject.toml README.md LICENSE celeryconfig.py ./
COPY kiosk_tasks kiosk_tasks
RUN ["python", "-m", "images.install", "package", "web", "/opt/kiosk"]

FROM tools AS modelserver-libraries
RUN --mount=type=cache,target=/root/.cache/uv ["python", "-m", "images.install", "libraries", "modelserver", "/opt/kiosk"]

FROM modelserver-libraries AS modelserver-files
COPY pyproject.toml README.md LICENSE celeryconfig.py ./
COPY kiosk_tasks kiosk_tasks
RUN ["python", "-m", "images.install", "package", "modelserver", "/opt/kiosk"]

# ---- what the images share: a Python without pip, a user without rights, two places to write
FROM ${PYTHON_IMAGE} AS runtime
RUN --mount=type=bind,source=images/bare.py,target=/bare.py ["python", "/bare.py"]
RUN ["useradd", "--uid", "10001", "--user-group", "--create-home", "--home-dir", "/run/kiosk", "--shell", "/usr/sbin/nologin", "kiosk"]
# Nothing is written but to /run/kiosk (small) and /tmp (the files of running jobs, uploads).
ENV HOME=/run/kiosk \
    KIOSK_ALIVE_FILE=/run/kiosk/alive \
    KIOSK_HOME=/run/kiosk \
    PATH=/opt/kiosk/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH=/opt/kiosk/lib \
    PYTHONUNBUFFERED=1
WORKDIR /opt/kiosk
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.vendor="kiosk-tasks" \
      org.opencontainers.image.version="${VERSION}"

# ---- worker: runs jobs. No program of ours is in between, so that signals reach Celery.
FROM runtime AS worker
LABEL org.opencontainers.image.title="kiosk-tasks worker" \
      org.opencontainers.image.description="Runs microscopy image jobs from a queue."
COPY --from=worker-files /opt/kiosk /opt/kiosk
# SIGTERM: running jobs go on for worker_soft_shutdown_timeout, then they are put back.
ENV KIOSK_READY_FILE=/run/kiosk/ready \
    REMAP_SIGTERM=SIGQUIT
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-m", "kiosk_tasks.run.liveness", "/run/kiosk/alive", "60"]
USER 10001:10001
CMD ["celery", "-A", "kiosk_tasks", "worker", "-Q", "predict"]

# ---- web: the page and the REST interface; with another command the exporter, the bridge, the
# reaper or Flower, each with a health check of its own (docker-compose.yml has them)
FROM runtime AS web
LABEL org.opencontainers.image.title="kiosk-tasks web" \
      org.opencontainers.image.description="Page, REST interface, exporter, bridge, reaper and Flower of kiosk-tasks."
COPY --from=web-files /opt/kiosk /opt/kiosk
ENV KIOSK_WEB_ADDRESS=0.0.0.0
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
USER 10001:10001
CMD ["kiosk", "web"]

# ---- modelserver: the embedded one, for laptops; in production it is tensorflow/serving
FROM runtime AS modelserver
LABEL org.opencontainers.image.title="kiosk-tasks modelserver" \
      org.opencontainers.image.description="Serves TensorFlow models on a laptop, as tensorflow/serving does."
COPY --from=modelserver-files /opt/kiosk /opt/kiosk
EXPOSE 8500
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "import socket; socket.create_connection(('127.0.0.1', 8500), 4).close()"]
USER 10001:10001
CMD ["python", "-m", "kiosk_tasks.serving.server", "/opt/kiosk/lib/kiosk_tasks/serving/models", "--host", "0.0.0.0", "--port", "8500"]
