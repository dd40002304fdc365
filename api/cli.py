"""The command ``bartender``. What a command needs is imported when it runs: ``--version`` answers at once."""

import asyncio
import os
import shlex
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from deployments import garbage, log, loopback
from flows.errors import ConfigurationError

if TYPE_CHECKING:
    from deployments.settings import Settings

app = typer.Typer(
    help="Runs command-line applications as jobs for the visitors of web applications.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

PRIVATE_KEY = Path("private_key.pem")
PUBLIC_KEY = Path("public_key.pem")
_CENTURY = 100 * 366 * 24 * 60  # minutes
TOKEN_COMMAND = "bartender generate-token --username NAME"  # noqa: S105 - a command, not a token


def main() -> None:
    """Run the command line; a mistake of the operator's is one line and exit status 2."""
    garbage.postpone()
    for complaint in loopback.spare():
        print(f"bartender: environment: {complaint}", file=sys.stderr)
    try:
        app(prog_name="bartender")
    except ConfigurationError as error:
        print(f"bartender: {error}", file=sys.stderr)
        sys.exit(2)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(version("bartender"))
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


@app.command()
def serve(
    worker: Annotated[bool, typer.Option(help="Run jobs here too; else start `bartender worker`.")] = True,
) -> None:
    """Serve the API, and whatever is not configured: PostgreSQL, a Prefect server."""
    from api.commands.checked import load_checked

    settings, _ = load_checked()
    log.to_terminal(settings.log_level)
    from deployments.serving.supervisor import running, until_signal

    async def keep_serving() -> int:
        async with running(settings, with_worker=worker) as service:
            print(service.describe())
            print(f"A token            {TOKEN_COMMAND}", flush=True)
            await service.wait_for_rest()
            await asyncio.Event().wait()
        return 0

    asyncio.run(until_signal(keep_serving()))


@app.command()
def worker() -> None:
    """Run the jobs of a server that is on this machine or elsewhere."""
    from api.commands.checked import load_checked

    settings, config = load_checked(with_public_key=False)
    if settings.configured_database() is None or not os.environ.get("PREFECT_API_URL"):
        settings = _settings_of_running_server(
            settings, "BARTENDER_DB_HOST and PREFECT_API_URL are not both set"
        )
    log.to_terminal(settings.log_level)
    from deployments.worker import worker

    worker.run(settings, config)


@app.command()
def perform(
    config: Annotated[Path, typer.Option(help="The configuration file.")] = Path("config.yaml"),
    destination: Annotated[
        list[str] | None, typer.Option(help="Take jobs of it; repeat for more. Without: of all with pilots.")
    ] = None,
    work_pool: Annotated[
        list[str] | None, typer.Option(help="Take jobs of it, without a configuration file.")
    ] = None,
    max_jobs: Annotated[int | None, typer.Option(min=1, help="Commands that run at once, per pool.")] = None,
    name: Annotated[str | None, typer.Option(help="What the pilot is called: the host's name.")] = None,
    directory: Annotated[
        Path, typer.Option(envvar="BARTENDER_DATA_DIR", help="Where it keeps what it needs for a restart.")
    ] = Path(".bartender"),
    idle_timeout: Annotated[
        float | None, typer.Option(min=0, help="End after so many s without jobs.")
    ] = None,
    time_left: Annotated[
        float | None, typer.Option(min=0, help="End in so many s: in a job of Slurm, when that ends.")
    ] = None,
    end_commands: Annotated[
        bool, typer.Option("--end-commands", help="At a stop, end what runs, not leave it to the next start.")
    ] = False,
    api_url: Annotated[
        str | None, typer.Option(envvar="BARTENDER_API_URL", help="Of the web service, for files by HTTP.")
    ] = None,
    log_level: Annotated[
        str, typer.Option(envvar="BARTENDER_LOG_LEVEL", help="Messages from it on.")
    ] = "INFO",
) -> None:
    """Run commands of jobs here, as a pilot: it needs PREFECT_API_URL, and no database."""
    log.to_terminal(log_level.upper())
    from api.commands import perform

    perform.perform(
        config=config,
        destinations=destination or [],
        pools=work_pool or [],
        max_jobs=max_jobs,
        name=name,
        directory=directory,
        idle_timeout=idle_timeout,
        time_left=time_left,
        end_commands=end_commands,
        api_url=api_url,
    )


@app.command()
def pilot_script(
    where: Annotated[Literal["slurm"], typer.Argument(help="What starts the pilot.")],
    work_pool: Annotated[str, typer.Option(help="Whose jobs it takes.")],
    max_jobs: Annotated[int, typer.Option(min=1, help="Commands that run at once.")] = 1,
    idle_timeout: Annotated[float, typer.Option(min=1, help="End after so many s without jobs.")] = 600,
) -> None:
    """Print a script that starts a pilot elsewhere."""
    from api.commands import perform

    program = Path(sys.argv[0]).absolute()
    # Started as a module, it is no program.
    bartender = shlex.join([sys.executable, "-m", "api"] if program.suffix == ".py" else [str(program)])
    print(
        perform.slurm_script(
            pool=shlex.quote(work_pool), max_jobs=max_jobs, idle_timeout=idle_timeout, bartender=bartender
        ),
        end="",
    )


@app.command()
def prefect_server(
    host: Annotated[
        str, typer.Option(envvar="PREFECT_SERVER_API_HOST", help="Where it listens.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(envvar="PREFECT_SERVER_API_PORT", min=1, max=65535, help="And on which port.")
    ] = 4200,
) -> None:
    """Run a Prefect server on a database of yours, also one of several, for workers on other machines."""
    from deployments.serving import prefect_replica
    from deployments.settings import Settings

    settings = Settings.load()
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url is not None else None
    prefect_replica.run(host, port, redis_url, settings.log_level)


@app.command()
def generate_token(
    private_key: Annotated[Path, typer.Option(help="PEM file to sign with.")] = PRIVATE_KEY,
    username: Annotated[str, typer.Option(help="Whom the token is for.")] = "someone",
    roles: Annotated[list[str] | None, typer.Option(help="A role; repeat for more.")] = None,
    lifetime: Annotated[int, typer.Option(min=1, max=_CENTURY, help="Minutes for which it is valid.")] = 60,
    issuer: Annotated[str, typer.Option(help="Who issues it.")] = "bartendercli",
    oformat: Annotated[
        Literal["plain", "header"], typer.Option(help="The token, or an HTTP header.")
    ] = "plain",
    more_roles: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
) -> None:
    """Print a token for the API."""
    from api.tokens import signing

    # `--roles a b` is how the original took them.
    if more_roles and not roles:
        raise typer.BadParameter(f"what is {more_roles[0]!r}? Roles come after --roles.")
    roles = [*(roles or []), *(more_roles or [])]
    token = signing.generate_token(private_key, username, roles, lifetime, issuer)
    print(f"Authorization: Bearer {token}" if oformat == "header" else token)


@app.command()
def generate_keys(
    private_key: Annotated[Path, typer.Option(help="PEM file that signs tokens.")] = PRIVATE_KEY,
    public_key: Annotated[Path, typer.Option(help="PEM file for the server.")] = PUBLIC_KEY,
) -> None:
    """Make the key pair for tokens."""
    from api.tokens import signing

    signing.generate_key_pair(private_key, public_key)


@app.command()
def link(
    directory: Annotated[Path, typer.Argument(help="Has the files of a completed job; stays where it is.")],
    submitter: Annotated[str, typer.Option(help="Whose job it becomes.")] = "someone",
    application: Annotated[str, typer.Option(help="Application that the job counts as one of.")] = "ln",
    config: Annotated[Path | None, typer.Option(help="The configuration file.")] = None,
) -> None:
    """Make a completed job out of a directory, by a link to it, and print the job's id."""
    from api.commands import link
    from deployments.settings import Settings

    settings = Settings.load()
    if settings.configured_database() is None:
        settings = _settings_of_running_server(settings, "BARTENDER_DB_HOST is not set")
    if config is not None:
        settings = settings.model_copy(update={"config_filename": config})
    work = link.link(directory, submitter=submitter, application=application, settings=settings)
    print(asyncio.run(work))


@app.command()
def ssh_keyscan(
    host: Annotated[str, typer.Argument(help="Name or address of the machine.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where its SSH server listens.")] = 22,
) -> None:
    """Print the host key of a machine, for `host_key` of an ssh_config.

    Compare its fingerprint with what the machine's operators say: only then is it known to be the right one.
    """
    from flows.ssh import keyscan

    print(asyncio.run(keyscan.scan(host, port)))


@app.command()
def pilot_key(
    destination: Annotated[str, typer.Argument(help="Its name in the configuration file.")],
) -> None:
    """Print the key that pilots of a destination show, for their variable BARTENDER_PILOT_KEY."""
    from api.commands import pilot_key

    print(pilot_key.pilot_key(destination))


@app.command()
def demo(
    keep_serving: Annotated[bool, typer.Option("--keep-serving", help="Serve until Ctrl-C instead.")] = False,
) -> None:
    """Start everything in a checkout, count the words of its README as a job, and stop."""
    from api.commands import demo

    sys.exit(demo.run(keep_serving=keep_serving))


def _settings_of_running_server(settings: "Settings", missing: str) -> "Settings":
    from deployments.serving.supervisor import environment_of_running
    from deployments.settings import Settings

    data_dir = settings.data_dir.resolve()
    environment = environment_of_running(data_dir)
    if environment is None:
        raise ConfigurationError(
            f"environment: {missing} and no server runs in {data_dir}; set what is missing, or run bartender "
            f"serve there first"
        )
    # Before anything imports Prefect, which reads the environment once.
    os.environ.update({name: value for name, value in environment.items() if not os.environ.get(name)})
    return Settings.load()
