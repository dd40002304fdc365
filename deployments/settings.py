"""Settings from the environment and the file ``.env``: prefix ``BARTENDER_``."""

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from flows.configuration.config import Config, describe
from flows.disk.places import Place
from flows.errors import ConfigurationError

PREFIX = "BARTENDER_"

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
_OTHER_NAMES = {"WARN": "WARNING", "FATAL": "CRITICAL"}  # as logging has them


def _log_level(level: object) -> object:
    name = level.upper() if isinstance(level, str) else level
    return _OTHER_NAMES.get(name, name) if isinstance(name, str) else name


def _prefix(text: str) -> str:
    prefix = text.rstrip("/")
    if prefix and not re.fullmatch(r"(/[\w.~-]+)+", prefix, re.ASCII):
        raise ValueError("write it like /bartender, of letters, digits and - . _ ~")
    if prefix.split("/")[:2] == ["", "api"]:
        raise ValueError("cannot begin with /api, as our own paths do")
    return prefix


def _origins(text: str) -> str:
    """Return them as browsers send them, with commas between."""
    return ",".join(dict.fromkeys(_origin(part.strip()) for part in text.split(",") if part.strip()))


def _origin(text: str) -> str:
    if text == "*":
        return text
    parts = urlsplit(text.lower().removesuffix("/"))
    host = parts.hostname or ""
    if parts.geturl() != f"{parts.scheme}://{parts.netloc}" or not host or {"*", "@"} & set(parts.netloc):
        raise ValueError(f"{text!r} is no origin: write each like https://app.example.org")
    host = f"[{host}]" if ":" in host else host.encode("idna").decode()
    own = {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{host}" + ("" if parts.port in {None, own} else f":{parts.port}")


class Settings(BaseSettings):
    """What an operator sets outside the configuration file. What is not configured is embedded."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    root_path: Annotated[str, AfterValidator(_prefix)] = ""
    cors_origins: Annotated[str, AfterValidator(_origins)] = ""
    workers_count: int = Field(default=1, ge=1)
    reload: bool = False
    log_level: Annotated[LogLevel, BeforeValidator(_log_level)] = "INFO"

    db_dsn: SecretStr | None = None
    db_host: str | None = None
    db_port: int = 5432
    db_user: str = "bartender"
    db_pass: SecretStr = SecretStr("")
    db_base: str = "bartender"
    db_echo: bool = False

    public_key: Path = Path("public_key.pem")
    jwks_url: str = ""
    token_algorithms: str = "RS256"  # noqa: S105 - not a secret
    token_issuers: str = ""
    token_audience: str = ""
    config_filename: Path = Path("config.yaml")
    data_dir: Path = Path(".bartender")
    prefect_port: int | None = Field(default=None, ge=0, le=65535)
    prefect_route: bool = True
    redis_url: SecretStr | None = None
    worker_name: str | None = Field(default=None, pattern=r"^[\w-][\w.-]*$")
    operator_role: str = Field(default="operator", min_length=1)
    max_upload_size: int = Field(default=1_000_000_000, gt=0)
    interactive_slots: int = Field(default=4, ge=1)
    interactive_max_size: int = Field(default=10_000_000, gt=0)
    max_streams: int = Field(default=300, gt=0)
    max_streams_per_user: int = Field(default=20, gt=0)

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins whose scripts may use the API; "*" is any."""
        return tuple(filter(None, self.cors_origins.split(",")))

    @classmethod
    def load(cls) -> "Settings":
        """Read the environment; raise ConfigurationError of one line that names the variable."""
        try:
            return cls()
        except ValidationError as error:
            raise ConfigurationError(f"environment: {PREFIX}… {describe(error)}") from error

    def configured_database(self) -> URL | None:
        """Return the database that the operator named, for asyncpg, or None: then it is embedded.

        Raises ConfigurationError for an address that is not PostgreSQL's.
        """
        if self.db_dsn is not None:
            return _postgresql(self.db_dsn.get_secret_value())
        if self.db_host is None:
            return None
        return URL.create(
            "postgresql+asyncpg",
            username=self.db_user,
            password=self.db_pass.get_secret_value(),
            host=self.db_host,
            port=self.db_port,
            database=self.db_base,
        )

    def place(self, config: Config) -> Place:
        """Return where things are kept on this machine."""
        data_dir = self.data_dir.resolve()
        return Place(data_dir=data_dir, job_root=config.job_root_dir or data_dir / "jobs")


def _postgresql(dsn: str) -> URL:
    try:
        url = make_url(dsn)
    except ArgumentError as error:
        raise ConfigurationError(
            f"environment: {PREFIX}DB_DSN is not an address: write postgresql://user:password@host/database"
        ) from error
    if url.get_backend_name() not in {"postgresql", "postgres"}:
        raise ConfigurationError(
            f"environment: {PREFIX}DB_DSN has the scheme {url.drivername}: only postgresql:// is supported"
        )
    return url.set(drivername="postgresql+asyncpg")
