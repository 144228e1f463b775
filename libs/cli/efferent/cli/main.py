"""The command ``efferent``: parses the command line and hands over to one module per subcommand.

A subcommand's module is imported only when it is called, so ``efferent --help`` is quick and ``efferent gateway`` never
pays for what the brain needs.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final

from efferent.cli.errors import CommandError

_DESCRIPTION: Final = "Self-hosted, event-sourced server for the Claude Managed Agents API."
_EPILOG: Final = "Settings come from environment variables; README.md lists them."
_EXIT_REFUSED: Final = 2

Command = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 1 failed, 2 refused (wrong usage or setting)."""
    arguments = _parser().parse_args(argv)
    try:
        return _command(arguments.module)(arguments)
    except CommandError as error:
        print(f"efferent: {error}", file=sys.stderr)
        return _EXIT_REFUSED
    except KeyboardInterrupt:
        return 130


def _command(module: str) -> Command:
    command: Command = import_module(module).main
    return command


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="efferent", description=_DESCRIPTION, epilog=_EPILOG)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, module: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.set_defaults(module=f"efferent.cli.{module}", name=name)
        return command

    add("up", "up", "run the whole server on this machine until Ctrl-C or SIGTERM")
    demo = add("demo", "demo", "play one session on the running server and print its events as they come")
    demo.add_argument("--message", help="what to send; lines that begin with '$ ' are run in the sandbox")
    demo.add_argument("--model", default="offline/demo", help="model id (default: %(default)s, which needs no key)")
    keys = add("keys", "keys", "make API keys")
    actions = keys.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    create = actions.add_parser("create", help="make another key and print it; it cannot be read again")
    create.add_argument("--name", default="key made on the command line", help="what the key is for")
    add("check-config", "check_config", "check the settings and the models file, then exit")
    for service, text in _SERVICES.items():
        add(service, "run_service", text)
    add("nats", "run_nats", "run the embedded nats-server of a data folder (used by 'efferent up')")
    add("version", "version", "print the version")
    return parser


_SERVICES: Final = {
    "gateway": "run one gateway: the HTTP API",
    "brain": "run one brain: works on the sessions' turns",
    "hands": "run one hands service: tool calls in sandboxes",
    "automation": "run one automation: scheduled deployments and what else happens by itself",
}


if __name__ == "__main__":
    sys.exit(main())
