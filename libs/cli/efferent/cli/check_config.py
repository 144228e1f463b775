"""``efferent check-config``: reads the settings and the models file and says what is wrong with them."""

import argparse
import os

from pydantic import ValidationError

from efferent.cli.errors import CommandError
from efferent.cli.run_service import describe
from efferent.cli.up_settings import read_settings
from efferent.common.api_keys import UnusableKey, check_usable
from efferent.common.model_config import load, refuse_own_address
from efferent.common.model_provider import ModelConfigError
from efferent.common.runtime.settings import BlobSettings, HostSettings, OrganizationSettings
from efferent.common.secrets.root_key import BadRootKey, SecretSettings


def main(_arguments: argparse.Namespace) -> int:
    """Check everything that can be checked without starting anything. Raises CommandError."""
    settings = read_settings(os.environ)
    try:
        refuse_own_address(load(os.environ), settings.host, settings.port)
    except ModelConfigError as error:
        raise CommandError(str(error)) from error
    try:
        if settings.api_key is not None:
            check_usable(settings.api_key)
    except UnusableKey as error:
        raise CommandError(f"EFFERENT_API_KEY: {error}") from error
    try:
        HostSettings()
        OrganizationSettings()
        BlobSettings()
        SecretSettings().configured_keys()
    except ValidationError as error:
        raise CommandError(f"a setting is wrong: {describe(error)}") from error
    except BadRootKey as error:
        raise CommandError(str(error)) from error
    return 0
