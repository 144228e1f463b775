"""The passphrase of backups: from a file or the environment, never from the command line, which others can read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from efferent.cli.errors import CommandError

LENGTH_MIN: Final = 12
LENGTH_MAX: Final = 4_096
VARIABLE: Final = "EFFERENT_BACKUP_PASSPHRASE"
FILE_VARIABLE: Final = "EFFERENT_BACKUP_PASSPHRASE_FILE"


def read_passphrase(environ: Mapping[str, str]) -> str:
    """The passphrase. Raises CommandError when there is none, or one that protects nothing."""
    text, file = environ.get(VARIABLE), environ.get(FILE_VARIABLE)
    if (text is None) == (file is None):
        raise CommandError(f"a backup is encrypted: set either {VARIABLE} or {FILE_VARIABLE}")
    if file is not None:
        try:
            text = Path(file).expanduser().read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{FILE_VARIABLE}: {file} cannot be read ({type(error).__name__})") from error
    if text is None or not LENGTH_MIN <= len(text) <= LENGTH_MAX:
        raise CommandError(f"the passphrase of a backup must have {LENGTH_MIN} to {LENGTH_MAX} characters")
    return text
