# One image for every process of Holdfast: `holdfast api`, `holdfast worker`, `holdfast upkeep`, `holdfast migrate`,
# `python -m simulator`.
FROM python:3.13.5-slim-bookworm AS build
ENV UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /holdfast
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN uv sync --locked --no-dev --no-install-project
COPY . .
RUN uv sync --locked --no-dev

FROM python:3.13.5-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home holdfast \
    && install --directory --owner=holdfast --mode=0700 /var/lib/holdfast
COPY --from=build --chown=root:root /holdfast /holdfast
ARG BUILD_ID=""
ENV HOLDFAST_BUILD_ID=$BUILD_ID
ENV PATH=/holdfast/.venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /holdfast
USER holdfast
ENTRYPOINT ["holdfast"]
