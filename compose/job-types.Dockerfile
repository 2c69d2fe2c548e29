# An image of ours with a package of your own job types in it:
#   docker build -f compose/job-types.Dockerfile --build-arg BASE=kiosk-tasks/worker:0.1.0 \
#       -t lab/worker:0.1.0 path/to/package
# and once more with kiosk-tasks/web and lab/web. A package with dependencies of its own needs them
# in the second line, too.
ARG BASE=kiosk-tasks/worker:0.1.0
FROM python:3.11.14-slim-trixie AS package
COPY . /package
RUN pip install --no-cache-dir --no-deps --target /job-types /package

FROM ${BASE}
COPY --from=package /job-types /job-types
ENV PYTHONPATH=/opt/kiosk/lib:/job-types
