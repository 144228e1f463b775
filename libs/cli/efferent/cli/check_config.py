"""``efferent check-config``: reads the settings and the models file and says what is wrong with them."""

import argparse
import os

from efferent.cli.errors import CommandError
from efferent.cli.up_settings import read_settings
from efferent.common.api_keys import UnusableKey, check_usable
from efferent.common.model_config import load, refuse_own_address
from efferent.common.model_provider import ModelConfigError


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
    return 0
