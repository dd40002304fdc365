"""The configuration file: applications, destinations and how a destination is picked."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from flows.archives.limits import UploadLimits
from flows.configuration import command_templates, json_schemas
from flows.configuration.quotas import Quotas
from flows.destinations.filesystem import Filesystem
from flows.destinations.scheduler import Scheduler
from flows.destinations.types import FILESYSTEMS, SCHEDULERS, Configured
from flows.errors import ConfigurationError, one_line
from flows.jobs.kept import Retention

MAX_INTERACTIVE_TIMEOUT = 60.0
MAX_KILL_AFTER = 86_400.0


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _check_template(template: str) -> str:
    try:
        command_templates.parse(template)
    except ConfigurationError as error:
        raise ValueError(f"is not a template: {error}") from error
    return template


def _check_schema(schema: dict[str, Any]) -> dict[str, Any]:
    usable = json_schemas.settled(schema)
    if usable.get("type") != "object":
        raise ValueError("must have type: object")
    return usable


def _check_variables(template: str, schema: dict[str, Any]) -> None:
    unknown = [
        name
        for name in sorted(command_templates.variables(template))
        if not json_schemas.has_property(schema, name)
    ]
    if unknown:
        raise ValueError(
            f"has {' and '.join(map(repr, unknown))} in its command_template, but not in its input_schema: "
            f"correct the spelling, or add it to the schema's properties"
        )


Days = Annotated[float, Field(gt=0, le=36_500)]
CommandTemplate = Annotated[str, Field(min_length=1), AfterValidator(_check_template)]
ObjectSchema = Annotated[dict[str, Any], AfterValidator(_check_schema)]


class Application(_Model):
    """A command that visitors submit jobs of.

    Its jobs expire ``retention_days`` after their end; without, when those of all applications do.
    """

    command_template: CommandTemplate
    input_schema: ObjectSchema | None = None
    summary: str | None = None
    description: str | None = None
    upload_needs: tuple[str, ...] = ()
    allowed_roles: frozenset[str] = frozenset()
    retention_days: Days | Literal["never"] | None = None

    @model_validator(mode="after")
    def _variables_are_in_the_schema(self) -> Self:
        if self.input_schema is not None:
            _check_variables(self.command_template, self.input_schema)
        return self


class InteractiveApplication(_Model):
    """A quick command that runs in the directory of a completed job.

    A visitor waits ``timeout`` seconds for it; after ``kill_after`` seconds it is ended.
    """

    command_template: CommandTemplate
    input_schema: ObjectSchema
    summary: str | None = None
    description: str | None = None
    timeout: float = Field(default=30.0, gt=0, le=MAX_INTERACTIVE_TIMEOUT)
    kill_after: float = Field(default_factory=lambda data: 10 * data.get("timeout", 0), le=MAX_KILL_AFTER)
    job_application: str | None = None

    @model_validator(mode="after")
    def _lives_as_long_as_it_is_waited_for(self) -> Self:
        if self.kill_after < self.timeout:
            raise ValueError(
                f"has a kill_after of {self.kill_after:g} seconds, which is less than its timeout of "
                f"{self.timeout:g}: make it longer"
            )
        return self

    @model_validator(mode="after")
    def _variables_are_in_the_schema(self) -> Self:
        _check_variables(self.command_template, self.input_schema)
        return self


class Destination(_Model):
    """Where jobs run. Files of a site's own types are relative to the context's ``directory``.

    ``failover``: whether jobs that wait for it while it does not answer may be given to another one.
    """

    scheduler: Configured[Scheduler]
    filesystem: Configured[Filesystem]
    failover: bool = False

    @model_validator(mode="after")
    def _reach_the_same_files(self) -> Self:
        scheduler, filesystem = self.scheduler, self.filesystem
        by_addresses = getattr(scheduler.implementation, "by_addresses", False)
        if by_addresses != hasattr(filesystem.implementation, "addresses"):
            kind = "gives jobs addresses, such as s3" if by_addresses else "has directories"
            raise ValueError(
                f"has the scheduler {scheduler.type_name}, which needs a filesystem that {kind}, and the "
                f"filesystem {filesystem.type_name}"
            )
        return self

    @field_validator("scheduler", mode="plain")
    @classmethod
    def _scheduler(cls, keys: object, info: ValidationInfo) -> Configured[Scheduler]:
        return SCHEDULERS.configured(keys, _directory(info))

    @field_validator("filesystem", mode="plain")
    @classmethod
    def _filesystem(cls, keys: object, info: ValidationInfo) -> Configured[Filesystem]:
        return FILESYSTEMS.configured(keys, _directory(info))


def _directory(info: ValidationInfo) -> Path:
    return Path((info.context or {}).get("directory", ""))


def _default_destinations() -> dict[str, Destination]:
    return {
        "local": Destination.model_validate(
            {"scheduler": {"type": "memory"}, "filesystem": {"type": "local"}}
        )
    }


class Config(_Model):
    """The whole file. Paths are absolute once it is loaded."""

    applications: dict[str, Application] = Field(min_length=1)
    interactive_applications: dict[str, InteractiveApplication] = {}
    destinations: dict[str, Destination] = Field(default_factory=_default_destinations, min_length=1)
    destination_picker: str = "flows.pickers:pick_first"
    job_root_dir: Path | None = None
    uploads: UploadLimits = UploadLimits()
    retention_days: Days | None = None
    max_pins: int = Field(default=10, ge=0)
    quotas: Quotas = Quotas()

    @property
    def retention(self) -> Retention:
        """For how long the jobs of each application are kept."""
        own = {
            name: None if application.retention_days == "never" else application.retention_days
            for name, application in self.applications.items()
            if application.retention_days is not None
        }
        return Retention(self.retention_days, own)

    @field_validator("applications", "interactive_applications", "destinations")
    @classmethod
    def _names_fit_in_urls(cls, parts: dict[str, Any]) -> dict[str, Any]:
        for name in parts:
            if not name or "/" in name:
                raise ValueError(f"has the name {name!r}: give it one without a slash")
        return parts

    @model_validator(mode="after")
    def _job_applications_exist(self) -> Self:
        for name, interactive in self.interactive_applications.items():
            if interactive.job_application not in {None, *self.applications}:
                raise ValueError(
                    f"interactive_applications.{name}.job_application names {interactive.job_application!r}, "
                    f"which is not one of the applications"
                )
        return self


def load(path: Path) -> Config:
    """Read the configuration file.

    Raises ConfigurationError of one line that names the file, the key and the way out.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"{path}: there is no such file; copy config-example.yaml there or set BARTENDER_CONFIG_FILENAME"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error}); check the path and its permissions"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: is not YAML: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: must hold keys such as applications; see config-example.yaml")
    try:
        config = Config.model_validate(content, context={"directory": path.parent})
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {describe(error)}") from error
    if config.job_root_dir is None:
        return config
    return config.model_copy(update={"job_root_dir": (path.parent / config.job_root_dir).resolve()})


def describe(error: ValidationError) -> str:
    """Return one line for all mistakes that pydantic found, each with its key."""
    return "; ".join(_describe(details) for details in error.errors(include_url=False, include_context=False))


def _describe(details: Any) -> str:
    key = ".".join(str(part) for part in details["loc"]) or "the file"
    match details["type"]:
        case "missing":
            return f"{key} is missing: add it"
        case "extra_forbidden":
            return f"{key} is not a known key: remove it or correct its spelling"
        case _:
            return f"{key} {one_line(details['msg'].removeprefix('Value error, '))}"
