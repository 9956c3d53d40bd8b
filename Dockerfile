# Run it with a read-only root filesystem if you like: it writes to the volume /var/lib/tollhouse and to /dev/shm only.
#   docker run --read-only -p 8080:8080 -v tollhouse:/var/lib/tollhouse -e LLM_GATEWAY_MASTER_KEY tollhouse

FROM python:3.11.14-slim-trixie AS python

# What `pip` needs, and nothing that the last stage keeps.
FROM python AS tools
COPY requirements/build.txt /requirements/
RUN python -m pip install --no-cache-dir --require-hashes --target /tools -r /requirements/build.txt

FROM rust:1.95.0-slim-trixie AS wheel
COPY --from=tools /tools/bin/maturin /usr/local/bin/
WORKDIR /source
COPY Cargo.toml Cargo.lock pyproject.toml README.md LICENSE THIRD-PARTY.md ./
COPY native native
COPY config config
COPY gateway gateway
COPY middlewares middlewares
COPY providers providers
# The extension uses the stable ABI, so building it takes no Python.
RUN maturin build --release --locked --out /dist

# Types, and sources of what is compiled, are for developers.
FROM python AS packages
COPY requirements/runtime.txt /requirements/
RUN python -m pip install --no-cache-dir --no-compile --require-hashes --prefix /opt/tollhouse -r /requirements/runtime.txt
COPY --from=wheel /dist /dist
RUN python -m pip install --no-cache-dir --no-compile --no-deps --no-index --prefix /opt/tollhouse /dist/*.whl \
    && find /opt/tollhouse/lib -regex '.*\.\(pyi\|pyx\|pxd\|pxi\)' -delete \
    && python -m compileall -q -s /opt/tollhouse -p /usr/local /opt/tollhouse/lib \
    && install -d -o 10001 -g 10001 -m 0700 /state

# So is what a debugger reads. Where there is a compiler, there is `strip`.
FROM wheel AS stripped
COPY --from=packages /opt/tollhouse /opt/tollhouse
RUN find /opt/tollhouse/lib -name '*.so' -exec strip --strip-unneeded {} +

FROM python AS runtime
COPY --from=stripped /opt/tollhouse /usr/local
COPY --from=packages --chown=10001:10001 /state /var/lib/tollhouse
# /dev/shm holds the metrics that several workers share; it is writable and in memory in every container.
ENV LLM_GATEWAY_STATE_DIR=/var/lib/tollhouse \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TMPDIR=/dev/shm
USER 10001:10001
WORKDIR /var/lib/tollhouse
VOLUME ["/var/lib/tollhouse"]
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:%s/health' % os.environ.get('LLM_GATEWAY_PORT', '8080'), timeout=2)"]
ENTRYPOINT ["tollhouse"]
CMD ["serve", "--host", "0.0.0.0"]
