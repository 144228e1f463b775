"""Hands that are not started as root and have no cgroups: the same walls, held up by other means."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from services.hands.tests.unprivileged import UID


def test_unprivileged_hands_work_and_keep_their_limits() -> None:
    with tempfile.TemporaryDirectory() as folder:
        if os.geteuid() == 0:
            os.chown(folder, UID, UID)
        root = Path(__file__).parents[3]
        command = [sys.executable, "-m", "services.hands.tests.unprivileged", folder]
        done = subprocess.run(command, capture_output=True, check=False, text=True, cwd=root)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout.splitlines()[-1])
    assert said["check"] == ""
    assert said["identity"].split()[0] == "1000"
    assert "Resource temporarily unavailable" in said["processes"]
    assert "419430400" not in said["memory of one"]
    assert "memory limit" in said["memory of many"]
    assert "disk limit" in said["disk"]
