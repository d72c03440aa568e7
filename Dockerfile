# syntax=docker/dockerfile:1
ARG BASE=python:3.13.14-slim-trixie@sha256:9662417aace5ae7b8e2609cce472b72a8958e134ba372808abe9cc1a0c0125e6

FROM $BASE AS packages
# For a mirror of PyPI, or a proxy with its own certificate: --build-arg PIP_INDEX_URL=...
ARG PIP_INDEX_URL PIP_CERT
COPY requirements.txt /
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes \
        --no-deps -r /requirements.txt

FROM $BASE
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 WEB_BIND=0.0.0.0:8000
RUN useradd --system --uid 10001 --no-create-home closient \
    && install -d -o closient -g closient /data
COPY --from=packages /venv /venv
WORKDIR /app
COPY . .
# Settings require a key and a database URL; collectstatic uses neither.
RUN SECRET_KEY=only-to-collect-static-files-nothing-is-signed DATABASE_URL=postgres://nobody@127.0.0.1/nothing \
    python manage.py collectstatic --noinput --verbosity 0
ENV DATA_FOLDER=/data
VOLUME /data
USER closient
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-m", "closient.readiness"]
CMD ["gunicorn"]
