"""Where a turn's processor time goes. Unlike times, these figures hardly change when the machine is busy."""

import os
from typing import Final

from tests.bench import processes
from tests.bench.client import TEXT
from tests.bench.figures import Figure
from tests.bench.stage import Stage
from tests.bench.turns import load, play_many

GROUP: Final = "processor time of a text turn, 20 sessions at once"
_AT_ONCE: Final = 20


async def of_text_turns(stage: Stage) -> list[Figure]:
    """Milliseconds of processor time per turn, by process; the floor's processes in the same places."""
    turns = stage.sizes.text_turns[_AT_ONCE]
    floor_players = await play_many(stage.floor, _AT_ONCE, TEXT)
    players = await play_many(stage.client, _AT_ONCE, TEXT)
    before = _used_s(stage)
    await load(floor_players, turns, TEXT)
    between = _used_s(stage)
    await load(players, turns, TEXT)
    after = _used_s(stage)
    for played in (*floor_players, *players):
        played.close()

    def per_turn_ms(name: str) -> float:
        return (after[name] - between[name]) / turns * 1_000

    def floor_ms(name: str) -> float:
        return (between[name] - before[name]) / turns * 1_000

    rows = [
        ("gateway", per_turn_ms("gateway"), floor_ms("floor edge")),
        ("brain", per_turn_ms("brain"), floor_ms("floor worker")),
        ("nats-server", per_turn_ms("nats"), floor_ms("floor nats")),
        ("the scripted model", per_turn_ms("model"), floor_ms("model")),
        ("the benchmark's client", per_turn_ms("client"), floor_ms("client")),
    ]
    rows.append(("all", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    return [Figure(GROUP, name, value, "ms", floor) for name, value, floor in rows]


def _used_s(stage: Stage) -> dict[str, float]:
    used = {name: processes.cpu_s(pid) for name, pid in stage.server.pids().items()}
    used |= {name: processes.cpu_s(pid) for name, pid in stage.other_pids.items()}
    times = os.times()
    return used | {"client": times.user + times.system}
