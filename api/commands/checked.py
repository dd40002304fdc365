"""What commands check before they start anything."""

from api.tokens.verification import Verifier
from deployments.settings import Settings
from flows import pickers
from flows.configuration.config import Config, load


def load_checked(
    settings: Settings | None = None, *, with_public_key: bool = True
) -> tuple[Settings, Config]:
    """Read what the operator wrote and check all that can be checked before anything is started."""
    settings = settings or Settings.load()
    config = load(settings.config_filename)
    pickers.load(config, settings.config_filename)
    settings.configured_database()
    if with_public_key:
        Verifier.of(settings)
    return settings, config
