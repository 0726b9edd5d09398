# One image for both parts; the command picks: `api --host 0.0.0.0`, `worker`, or, as built, both of them with a Valkey of their own.
# Parts in containers of their own need DATABASE_URL, REDIS_URL and one /data between them.

FROM rust:1.95-slim-bookworm AS wheel
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /build
# A pure wheel can't ship by accident, nor crates other than the locked ones.
ENV PATH=/build/bin:$PATH BARSTORM_KERNEL=rust MATURIN_PEP517_ARGS=--locked
WORKDIR /source
COPY requirements/build.lock requirements/
RUN pip install --no-cache-dir --require-hashes -r requirements/build.lock
COPY . .
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels .

FROM python:3.11-slim-bookworm AS install
RUN python -m venv /opt/barstorm
ENV PATH=/opt/barstorm/bin:$PATH
COPY requirements/service.lock requirements/exchanges.lock requirements/s3.lock requirements/
RUN pip install --no-cache-dir --require-hashes \
    -r requirements/service.lock -r requirements/exchanges.lock -r requirements/s3.lock
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir --no-deps /wheels/*.whl

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --create-home --home-dir /data barstorm
COPY --from=install /opt/barstorm /opt/barstorm
ENV PATH=/opt/barstorm/bin:$PATH PYTHONUNBUFFERED=1 BARSTORM_DATA_DIR=/data
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s --retries=3 CMD ["barstorm", "doctor"]
ENTRYPOINT ["barstorm"]
CMD ["serve", "--host", "0.0.0.0"]
