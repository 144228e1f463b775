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
    _add_key_actions(add("keys", "keys", "make, list and revoke API keys and environment keys"))
    _add_workspace_actions(add("workspaces", "workspaces", "make, list and archive workspaces"))
    _add_secret_actions(
        add("secrets", "secrets", "make and rotate the root keys that stored credentials are sealed with")
    )
    backup = add("backup", "backup.write", "write log, blobs and keys of the running server into one encrypted file")
    backup.add_argument("file", metavar="FILE", help="the backup; EFFERENT_BACKUP_PASSPHRASE[_FILE] encrypts it")
    restore = add("restore", "backup.restore", "make an empty data folder from a backup")
    restore.add_argument("file", metavar="FILE", help="the backup; EFFERENT_BACKUP_PASSPHRASE[_FILE] opens it")
    restore.add_argument("--replicas", type=int, default=1, help="copies of each stream (default: %(default)s)")
    doctor = add("doctor", "doctor.examine", "tell what is configured, reachable and missing, and what to do")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    add("check-config", "check_config", "check the settings and the models file, then exit")
    for service, text in _SERVICES.items():
        add(service, "run_service", text)
    add("nats", "run_nats", "run the embedded nats-server of a data folder (used by 'efferent up')")
    add("version", "version", "print the version")
    return parser


def _actions(command: argparse.ArgumentParser) -> Callable[[str, str], argparse.ArgumentParser]:
    actions = command.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    return lambda name, text: actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")


def _add_key_actions(command: argparse.ArgumentParser) -> None:
    action = _actions(command)
    create = action("create", "make another key and print it; it cannot be read again")
    create.add_argument(
        "--name", dest="key_name", metavar="NAME", default="key made on the command line", help="what the key is for"
    )
    create.add_argument("--workspace", metavar="ID", help="workspace of the key (default: the default workspace)")
    create.add_argument("--environment", metavar="ID", help="make an environment key: for workers of this environment")
    create.add_argument("--expires-in-days", type=int, metavar="DAYS", help="when it ends by itself (default: never)")
    show = action("list", "list the keys that are valid; the keys themselves are not kept")
    show.add_argument("--workspace", metavar="ID", help="only keys of this workspace")
    show.add_argument("--environment", metavar="ID", help="only keys of this environment")
    show.add_argument("--all", action="store_true", help="revoked and expired ones too")
    show.add_argument("--json", action="store_true", help="print JSON")
    action("revoke", "end a key at once and for good").add_argument("key_id", help="id of the key, as 'list' shows it")


def _add_workspace_actions(command: argparse.ArgumentParser) -> None:
    action = _actions(command)
    action("create", "make a workspace and print its id").add_argument("workspace_name", metavar="NAME")
    action("list", "list all workspaces").add_argument("--json", action="store_true", help="print JSON")
    archive = action("archive", "refuse all keys of a workspace from now on; this is final, and deletes nothing")
    archive.add_argument("workspace_id", metavar="ID")


def _add_secret_actions(command: argparse.ArgumentParser) -> None:
    action = _actions(command)
    action("generate", "print a fresh root key, and keep it nowhere")
    action("new-key", "put a fresh root key before those in the data folder; the server has to be started again")
    action("rotate", "seal everything with the first root key, so that the others can be thrown away")


_SERVICES: Final = {
    "gateway": "run one gateway: the HTTP API",
    "brain": "run one brain: works on the sessions' turns",
    "hands": "run one hands service: tool calls in sandboxes",
    "automation": "run one automation: scheduled deployments and what else happens by itself",
}


if __name__ == "__main__":
    sys.exit(main())
