"""``bartender demo``: the word count of the README as a job, from nothing but a checkout."""

import asyncio
import io
import sys
import time
import zipfile
from pathlib import Path

import httpx

from api.commands.checked import load_checked
from api.tokens import signing
from deployments.serving.listening import listen
from deployments.serving.supervisor import Service, running, until_signal
from deployments.settings import Settings
from flows.errors import ConfigurationError

APPLICATION = "wc"
INPUT = Path("README.md")
EXAMPLE = Path("config-example.yaml")
PRIVATE_KEY = "private_key.pem"
LONGEST = 60.0
"""Seconds that the job may take."""

INTERRUPTED = 130


def run(*, keep_serving: bool) -> int:
    """Return the exit status."""
    settings = _settings(any_port=not keep_serving)
    _, config = load_checked(settings)
    if keep_serving:
        return asyncio.run(until_signal(_serve(settings))) or 0
    if APPLICATION not in config.applications:
        raise ConfigurationError(
            f"{settings.config_filename}: applications.{APPLICATION} is missing: the demo runs it; "
            f"copy it from {EXAMPLE}"
        )
    status = asyncio.run(until_signal(_count_words(settings)))
    return INTERRUPTED if status is None else status


def _settings(*, any_port: bool) -> Settings:
    settings = Settings.load()
    if not settings.config_filename.exists():
        settings = settings.model_copy(update={"config_filename": EXAMPLE})
    # Keys of its own, so that those of the operator are never needed here.
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    private_key, public_key = settings.data_dir / PRIVATE_KEY, settings.data_dir / "public_key.pem"
    if not private_key.exists():
        public_key.unlink(missing_ok=True)
        signing.generate_key_pair(private_key, public_key)
    update: dict[str, object] = {"public_key": public_key, "jwks_url": "", "token_algorithms": "RS256"}
    update |= {"token_issuers": "", "token_audience": ""}
    if any_port:
        update["port"] = _free_port(settings.host, settings.port)
        if settings.prefect_port is not None:
            update["prefect_port"] = _free_port("127.0.0.1", settings.prefect_port)
    return settings.model_copy(update=update)


def _free_port(host: str, port: int) -> int:
    try:
        listen(host, port, "BARTENDER_PORT").close()
    except ConfigurationError:
        return 0  # whichever is free
    return port


async def _serve(settings: Settings) -> int:
    async with running(settings, with_worker=True) as service:
        print(service.describe())
        private_key = settings.data_dir / PRIVATE_KEY
        print(f"A token            bartender generate-token --private-key {private_key} --username NAME")
        print("Ctrl-C stops everything.", flush=True)
        await service.wait_for_rest()
        await asyncio.Event().wait()
    return 0


async def _count_words(settings: Settings) -> int:
    log = settings.data_dir / "demo.log"
    log.unlink(missing_ok=True)
    print("Starting PostgreSQL, a Prefect server, a worker and the API ...", flush=True)
    async with running(settings, with_worker=True, log=log) as service:
        token = signing.generate_token(settings.data_dir / PRIVATE_KEY, "demo", [], 60, "bartender")
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=service.url, headers=headers, trust_env=False) as client:
            return await _run_job(client, service)


async def _run_job(client: httpx.AsyncClient, service: Service) -> int:
    response = await client.put(
        f"/api/application/{APPLICATION}/job",
        content=_archive(),
        headers={"Content-Type": "application/zip"},
    )
    if response.status_code != httpx.codes.SEE_OTHER:
        print(f"The job was refused: {response.text}", file=sys.stderr)
        return 1
    job = response.headers["Location"]
    print(f"Submitted {INPUT} to {service.url}: {job}", flush=True)
    state = await _follow(client, job)
    print(flush=True)
    if state != "ok":
        print((await client.get(job)).text, file=sys.stderr)
        return 1
    print((await client.get(f"{job}/stdout")).text, end="")
    return 0


async def _follow(client: httpx.AsyncClient, job: str) -> str:
    """Print the states as they change, in one line; return the last one."""
    state = "new"
    print(state, end="", flush=True)
    deadline = time.monotonic() + LONGEST
    while state not in {"ok", "error"} and time.monotonic() < deadline:
        current: str = (await client.get(job)).raise_for_status().json()["state"]
        if current != state:
            state = current
            print(f" {state}", end="", flush=True)
        await asyncio.sleep(0.02)
    return state


def _archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(INPUT)
    return buffer.getvalue()
