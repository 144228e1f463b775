"""The sandbox's /etc: a few files of our own, and those of the host's without which programs of /usr do not work.

It is copied once for each start of the hands, so that a sandbox needs one mount for it instead of twenty: every mount
costs bubblewrap a look at all the others.
"""

import contextlib
import shutil
from pathlib import Path
from typing import Final

USER: Final = "agent"
INNER_UID: Final = 1000

_OWN: Final = {
    "passwd": f"root:x:0:0:root:/root:/bin/bash\n{USER}:x:{INNER_UID}:{INNER_UID}:{USER}:/home/agent:/bin/bash\n"
    "nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
    "group": f"root:x:0:\n{USER}:x:{INNER_UID}:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "resolv.conf": "",
}
_COPIED: Final = (
    "alternatives", "ssl/certs", "ssl/openssl.cnf", "ca-certificates.conf", "pki/tls/certs", "pki/ca-trust/extracted",
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "timezone", "mime.types", "protocols", "services",
    "fonts", "ImageMagick-6", "java-11-openjdk", "java-17-openjdk", "java-21-openjdk",
)  # fmt: skip
"""Nothing in these is secret. What is a link stays one; what cannot be read is left out."""


def assemble(folder: Path, host: Path = Path("/etc")) -> None:
    """Make the folder anew. Sandboxes that were started with an older one keep it. Raises OSError."""
    fresh = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o755, parents=True)
    for name in _COPIED:
        with contextlib.suppress(OSError, shutil.Error):
            _copy(host / name, fresh / name)
    for name, text in _OWN.items():
        (fresh / name).write_text(text)
    for path in (fresh, *fresh.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True, ignore_dangling_symlinks=True)
    else:
        shutil.copyfile(source, target, follow_symlinks=False)
