"""``efferent version``."""

import argparse
from importlib.metadata import version


def main(_arguments: argparse.Namespace) -> int:
    """Print the version of the installed distribution."""
    print(version("efferent"))
    return 0
