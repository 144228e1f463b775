"""``make bench``: starts a server and the floor, measures both, prints the table.

    make bench                                  everything, some minutes
    make bench ARGS='--quick'                   the same table from few samples: shows that everything can be measured
    make bench ARGS='--only text,tools'         some groups
    make bench ARGS='--json bench.json'         and keep the figures

Its own process is the client of what it measures. Nothing else should run on the machine meanwhile.
"""

import argparse
import asyncio
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import uvloop

from tests.bench import (
    cost,
    failover,
    floor_parts,
    lists,
    log_rates,
    memory,
    projections,
    readers,
    scale,
    schedules,
    stage,
    tools,
    turns,
    uploads,
)
from tests.bench.figures import Figure, table, write_json
from tests.bench.sizes import FULL, QUICK, Sizes

Measure = Callable[[stage.Stage], Awaitable[list[Figure]]]


async def _idle_memory(at: stage.Stage) -> list[Figure]:
    return memory.figures("memory, just started (PSS)", at.server, wanted="< 400")


async def _memory_after(at: stage.Stage) -> list[Figure]:
    return memory.figures("memory, after everything above (PSS)", at.server)


MEASURES: Final[dict[str, Measure]] = {
    "memory": _idle_memory,
    "parts": floor_parts.parts,
    "text": turns.text_turns,
    "cost": cost.of_text_turns,
    "tools": turns.tool_turns,
    "create": turns.session_creation,
    "cold": tools.cold_and_warm,
    "log": log_rates.rates,
    "rebuild": projections.rebuilt,
    "lists": lists.listed,
    "fan-out": readers.fan_out,
    "upload": uploads.largest_file,
    "long": scale.long_session,
    "many": scale.many_sessions,
    "readers": readers.idle_readers,
    "failover": failover.after_kill,
    "schedules": schedules.due_at_once,
    "memory-after": _memory_after,
    "followed": turns.followed_text_turns,
}
"""Every group of the table by its short name, in the order of measuring."""


async def run(sizes: Sizes, names: list[str], figures: list[Figure]) -> None:
    """Measure these groups; the figures of those that came to their end are kept when a later one fails."""
    if (task := asyncio.current_task()) is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with tempfile.TemporaryDirectory(prefix="efferent-bench-") as folder:
        async with stage.running(sizes, Path(folder)) as at:
            for name in names:
                started_s = time.monotonic()
                figures += await MEASURES[name](at)
                print(f"bench: {name} took {time.monotonic() - started_s:.1f} s", file=sys.stderr, flush=True)


def _main() -> None:
    options = _options()
    names = options.only.split(",") if options.only else list(MEASURES)
    if unknown := [name for name in names if name not in MEASURES]:
        raise SystemExit(f"bench: no such group: {', '.join(unknown)}; there are {', '.join(MEASURES)}")
    started_s = time.monotonic()
    figures: list[Figure] = []
    try:
        uvloop.run(run(QUICK if options.quick else FULL, names, figures))
    finally:
        machine: dict[str, object] = {
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.release()}",
            "quick": options.quick,
            "seconds": round(time.monotonic() - started_s, 1),
        }
        print(table(figures))
        print(f"\n{machine['cpus']} CPUs, Python {machine['python']}, {machine['system']}, {machine['seconds']} s")
    if options.json is not None:
        write_json(options.json, figures, machine)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Measures a server and the floor of the machine.")
    parser.add_argument("--quick", action="store_true", help="few samples: under a minute")
    parser.add_argument("--only", help=f"groups, separated by commas: {', '.join(MEASURES)}")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    return parser.parse_args()


if __name__ == "__main__":
    _main()
