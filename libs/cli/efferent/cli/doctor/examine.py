"""The command: looks at everything in turn and tells what it found."""

import argparse
import asyncio
import os

from efferent.cli.doctor import machine, server
from efferent.cli.doctor.findings import Finding, is_healthy, print_json, print_text
from efferent.cli.up_settings import HOST_DEFAULT, PORT_DEFAULT


def main(arguments: argparse.Namespace) -> int:
    """Print the findings. Returns 0 when nothing failed, else 1."""
    findings = asyncio.run(_examine())
    if arguments.json:
        print_json(findings)
    else:
        print_text(findings)
    return 0 if is_healthy(findings) else 1


async def _examine() -> list[Finding]:
    environ = os.environ
    found, findings = machine.settings(environ)
    host, port = (found.host, found.port) if found is not None else (HOST_DEFAULT, PORT_DEFAULT)
    findings += [*machine.folder(environ), *machine.models(environ, host, port), *machine.nats_binary(environ)]
    is_running = False
    if found is not None:
        findings += machine.certificate(found)
        is_running, told = await server.gateway(found)
        findings += told
    findings += await server.log(environ, is_running=is_running)
    findings += await server.blobs(environ)
    if not is_running:  # a server that runs has said whether its own sandboxes work
        findings += await machine.sandboxes()
    return findings
