"""What can be looked at while the server runs: the gateway, the log, the blobs, and whether the secrets open."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from efferent.cli.doctor.findings import Finding
from efferent.cli.errors import CommandError
from efferent.cli.log_access import connected, log_settings
from efferent.cli.readiness import Readiness, ask
from efferent.cli.run_service import describe
from efferent.cli.up import check_port
from efferent.cli.up_settings import UpSettings, data_dir
from efferent.common.blobs.opening import open_blobs
from efferent.common.jetstream import api, subjects
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.data_keys import JetStreamDataKeys
from efferent.common.ports import BlobsUnavailable, LogUnavailable
from efferent.common.runtime.settings import BlobSettings
from efferent.common.secrets.box import CANARY, SecretBox, WrongRootKey
from efferent.common.secrets.root_key import FILE_NAME, BadRootKey, RootKey, SecretSettings

MIB: Final = 1024**2
_STORE_WARNING_SHARE: Final = 0.9


async def gateway(found: UpSettings) -> tuple[bool, list[Finding]]:
    """Whether the server runs and can do its work; when it does not run, whether it could listen."""
    readiness: Readiness = await ask(found.base_url, found.tls_cert)
    if readiness.is_ready:
        return True, [Finding("server", "ok", f"runs at {found.base_url}, and a turn can run")]
    if readiness.is_answered:
        remedy = "look at the server's own log"
        return True, [Finding("server", "failed", f"not ready: {reason}", remedy) for reason in readiness.reasons]
    try:
        check_port(found)
    except CommandError as error:
        return False, [Finding("server", "failed", str(error))]
    return False, [Finding("server", "warning", f"does not run; port {found.port} is free", "start 'efferent up'")]


async def log(environ: Mapping[str, str], *, is_running: bool) -> Sequence[Finding]:
    """NATS: whether it answers, what its streams hold, and how full its store is; then the secrets' root key."""
    try:
        async with connected(log_settings(environ)) as connection:
            return [*await _streams(connection), *await _root_key(data_dir(environ), connection)]
    except CommandError as error:
        return [Finding("log", "failed" if is_running else "warning", str(error)), *_local_root_key(environ)]
    except (LogUnavailable, api.ApiError) as error:
        if environ.get("NATS_URL") or is_running:
            remedy = "check NATS_URL and EFFERENT_NATS_TOKEN" if environ.get("NATS_URL") else "start the server again"
            return [Finding("log", "failed", str(error), remedy), *_local_root_key(environ)]
        return [Finding("log", "warning", "its server does not run", "start 'efferent up'"), *_local_root_key(environ)]


async def blobs(environ: Mapping[str, str]) -> Sequence[Finding]:
    """The store of blobs, by storing one."""
    try:
        settings = BlobSettings()
        path = data_dir(environ)
        if settings.backend == "local" and not path.exists():
            return [Finding("blobs", "ok", "a folder in the data folder, which is not there yet")]
        await open_blobs(settings, path).check()
    except ValidationError as error:
        return [Finding("blobs", "failed", describe(error), "correct the EFFERENT_S3_... variables")]
    except (BlobsUnavailable, OSError) as error:
        return [Finding("blobs", "failed", str(error))]
    where = "the data folder" if settings.backend == "local" else f"{settings.endpoint}, bucket {settings.bucket}"
    return [Finding("blobs", "ok", f"can be stored in {where}")]


async def _streams(connection: Connection) -> list[Finding]:
    account = await api.call(connection, "INFO", {})
    findings: list[Finding] = []
    for name in subjects.ON_DISK:
        try:
            state = (await api.call_once(connection, f"STREAM.INFO.{name}", {}))["state"]
            text = f"{name} holds {state['messages']} records, {state['bytes'] // MIB} MiB"
            findings.append(Finding("log", "ok", text))
        except api.ApiError as error:
            findings.append(Finding("log", "warning", f"{name}: {error.description}", "the first start makes it"))
    used, limit = int(account.get("storage", 0)), int(account.get("limits", {}).get("max_storage", -1))
    if limit > 0 and used > limit * _STORE_WARNING_SHARE:
        text = f"{used // MIB} of {limit // MIB} MiB of JetStream's store are used"
        findings.append(Finding("log", "warning", text, "give the account or the server more room"))
    return findings


async def _root_key(data: Path, connection: Connection) -> list[Finding]:
    roots, findings = _configured_root_keys(data)
    if not roots:
        return findings
    keys = JetStreamDataKeys(connection)
    try:
        if await keys.ids(CANARY):
            await SecretBox(keys, roots).check()
    except WrongRootKey as error:
        return [Finding("secrets", "failed", str(error), "put back the key that was used before, or restore a backup")]
    except api.ApiError:
        return findings  # no stream of keys yet
    return findings


def _local_root_key(environ: Mapping[str, str]) -> list[Finding]:
    return _configured_root_keys(data_dir(environ))[1]


def _configured_root_keys(data: Path) -> tuple[Sequence[RootKey], list[Finding]]:
    """The root keys and where they come from. Makes none."""
    try:
        settings = SecretSettings()
        if settings.key is None and settings.key_file is None and not (data / FILE_NAME).exists():
            return (), [Finding("secrets", "ok", "no root key yet; the first start makes one in the data folder")]
        roots = settings.root_keys(data)
    except (BadRootKey, ValidationError) as error:
        text = str(error) if isinstance(error, BadRootKey) else describe(error)
        return (), [Finding("secrets", "failed", text, "'efferent secrets generate' prints a fresh key")]
    if settings.key is not None:
        source = "EFFERENT_SECRET_KEY"
    elif settings.key_file is not None:
        source = f"EFFERENT_SECRET_KEY_FILE ({settings.key_file})"
    else:
        source = f"{data / FILE_NAME}; keep a copy of it ('efferent backup' holds one)"
    return roots, [Finding("secrets", "ok", f"root key {roots[0].id} from {source}")]
