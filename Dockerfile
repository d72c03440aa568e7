# syntax=docker/dockerfile:1
FROM python:3.13-slim AS packages
COPY requirements.txt /
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes \
        --no-deps -r /requirements.txt

FROM python:3.13-slim
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 WEB_BIND=0.0.0.0:8000
RUN useradd --system --uid 10001 --no-create-home closient \
    && install -d -o closient -g closient /data
COPY --from=packages /venv /venv
WORKDIR /app
COPY . .
# Settings require a key and a database URL; collectstatic uses neither.
RUN SECRET_KEY=build DATABASE_URL=postgres://nobody@127.0.0.1/nothing \
    python manage.py collectstatic --noinput --verbosity 0
ENV DATA_FOLDER=/data
VOLUME /data
USER closient
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-m", "closient.readiness"]
CMD ["gunicorn"]
