"""``efferent secrets``: root keys. A new one is added, the services are started again, then everything is rotated."""

import argparse
import asyncio
import os

from efferent.cli.errors import CommandError
from efferent.cli.log_access import log_settings
from efferent.cli.up_settings import data_dir
from efferent.common.jetstream.connection import connect
from efferent.common.jetstream.data_keys import JetStreamDataKeys
from efferent.common.ports import LogUnavailable
from efferent.common.secrets import root_key
from efferent.common.secrets.box import SecretBox, WrongRootKey
from efferent.common.secrets.envelope import CannotOpen
from efferent.common.secrets.root_key import BadRootKey, SecretSettings

_CONNECT_WITHIN_S = 5.0


def main(arguments: argparse.Namespace) -> int:
    """Carry out the action. Raises CommandError."""
    match arguments.action:
        case "generate":
            print(root_key.generate())
        case "new-key":
            _add_key()
        case _:
            _rotate()
    return 0


def _add_key() -> None:
    """Put a fresh key in front of those in the data folder's file."""
    if SecretSettings().key is not None or SecretSettings().key_file is not None:
        raise CommandError(
            "the root keys come from EFFERENT_SECRET_KEY or EFFERENT_SECRET_KEY_FILE: put a new one, as "
            "'efferent secrets generate' prints it, before the others there"
        )
    file = data_dir(os.environ) / root_key.FILE_NAME
    try:
        known = file.read_text().split() if file.exists() else []
        fresh = [root_key.generate(), *known]
        root_key.parse(" ".join(fresh), str(file))
        root_key.write(file, fresh)
    except (OSError, BadRootKey) as error:
        raise CommandError(f"{file}: {error}") from error
    print(f"efferent: {file} has a new first key; start the server again, then run 'efferent secrets rotate'")


def _rotate() -> None:
    try:
        roots = SecretSettings().root_keys(data_dir(os.environ))
        count = asyncio.run(_rotate_all(roots))
    except (BadRootKey, WrongRootKey, CannotOpen) as error:
        raise CommandError(str(error)) from error
    except LogUnavailable as error:
        raise CommandError(f"the log does not answer ({error}); is the server running?") from error
    print(f"efferent: {count} keys were rotated; all secrets need the root key {roots[0].id} only")


async def _rotate_all(roots: tuple[root_key.RootKey, ...]) -> int:
    settings = log_settings(os.environ)
    connection = await connect(
        settings.servers(), name="efferent secrets", token=settings.token_text(), within_s=_CONNECT_WITHIN_S
    )
    try:
        box = SecretBox(JetStreamDataKeys(connection), roots)
        await box.check()
        return await box.rotate()
    finally:
        await connection.close()
