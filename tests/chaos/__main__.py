"""``python -m tests.chaos --minutes N``: storm after storm, each with a seed of its own, until the time is over.

Prints each storm's report. Ends with 1 at the first thing that should not be; its seed plays the same storm again.
"""

import argparse
import asyncio
import secrets
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.storm import Report, Storm, plan
from tests.chaos.weather import storm_server
from tests.support.efferent_server import scripted_model


def _main() -> int:
    parser = argparse.ArgumentParser(description="Kill services at random and check that nothing is lost.")
    parser.add_argument("--minutes", type=float, default=10.0, help="begin no storm after this time (default: 10)")
    parser.add_argument("--seed", type=int, help="seed of the first storm (default: a random one)")
    parser.add_argument("--kills", type=int, default=60, help="kills of one storm (default: 60)")
    parser.add_argument("--sessions", type=int, default=12, help="sessions at work at once (default: 12)")
    parser.add_argument("--more-brains", type=int, default=0, help="brains beside the one that is killed (default: 0)")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else secrets.randbelow(2**31)
    end = time.monotonic() + options.minutes * 60
    kills = storms = 0
    while True:
        print(f"storm with seed {seed}", flush=True)
        report = _storm(seed, options.kills, options.sessions, options.more_brains)
        kills, storms, seed = kills + report.kills.total(), storms + 1, seed + 1
        print(report, flush=True)
        if report.problems:
            print("\n".join(report.problems), flush=True)
            return 1
        if time.monotonic() >= end:
            break
    print(f"{kills} kills in {storms} storms: nothing lost, nothing done twice")
    return 0


def _storm(seed: int, kills: int, sessions: int, more_brains: int) -> Report:
    with (
        tempfile.TemporaryDirectory() as folder,
        scripted_model() as url,
        storm_server(Path(folder), url, more_brains=more_brains) as server,
    ):
        storm = Storm(server, url, seed, players=sessions)
        return asyncio.run(storm.run(plan(kills, storm.dice)))


if __name__ == "__main__":
    sys.exit(_main())
