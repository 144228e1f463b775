"""Why bubblewrap cannot work on a machine, and what its owner can do. Pure, but for reading the kernel's settings."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_SETTINGS: Final = {
    "kernel.unprivileged_userns_clone": ("0", "1"),
    "kernel.apparmor_restrict_unprivileged_userns": ("1", "0"),
    "user.max_user_namespaces": ("0", "10000"),
}
"""Kernel settings that forbid user namespaces: the value that does, and one that does not."""

_WITHOUT: Final = (
    "Or set EFFERENT_HANDS_BACKEND=process to run tool calls WITHOUT any isolation, with the rights of this service."
)


def kernel_settings() -> dict[str, str]:
    """The values of the settings that matter, as far as this kernel has them."""
    found: dict[str, str] = {}
    for name in _SETTINGS:
        path = Path("/proc/sys", *name.split("."))
        if path.is_file():
            found[name] = path.read_text().strip()
    return found


def explain(failure: str, settings: Mapping[str, str], platform: str = sys.platform) -> str:
    """One text that says what failed and what to do about it."""
    if platform != "linux":
        return f"bubblewrap needs Linux, and this is {platform}. {_WITHOUT}"
    forbidding = [
        f"sysctl -w {name}={right}" for name, (wrong, right) in _SETTINGS.items() if settings.get(name) == wrong
    ]
    if forbidding:
        advice = f"This kernel forbids user namespaces; as root: {' && '.join(forbidding)}."
    elif "execvp" in failure:
        advice = "The host's /usr has no bash; install it."
    elif "proc" in failure and "mount" in failure.lower():
        advice = "Inside a container: let it mount /proc (Docker: --security-opt systempaths=unconfined)."
    else:
        advice = (
            "Inside a container: allow user namespaces and mounts (Docker: --security-opt seccomp=unconfined "
            "--security-opt apparmor=unconfined --security-opt systempaths=unconfined)."
        )
    return f"A sandbox cannot be started: {failure}. {advice} {_WITHOUT}"
