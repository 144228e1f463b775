"""The first tool call of a session, which starts its sandbox, against the next ones."""

from typing import Final

from tests.bench.client import TOOL
from tests.bench.figures import Figure, median, percentile
from tests.bench.stage import Stage

GROUP: Final = "first tool call"


async def cold_and_warm(stage: Stage) -> list[Figure]:
    """One-tool turns: the first and the second of many sessions. What the first costs more is the sandbox's start."""
    cold_ms: list[float] = []
    warm_ms: list[float] = []
    for _ in range(stage.sizes.cold_tools):
        played = await stage.client.play()
        cold_ms.append((await played.turn(TOOL)).idle_s * 1_000)
        warm_ms.append((await played.turn(TOOL)).idle_s * 1_000)
        played.close()
    added_ms = [cold - warm for cold, warm in zip(cold_ms, warm_ms, strict=True)]
    return [
        Figure(GROUP, "turn with a cold sandbox p50", median(cold_ms), "ms"),
        Figure(GROUP, "turn with a cold sandbox p95", percentile(cold_ms, 95), "ms"),
        Figure(GROUP, "turn with a warm sandbox p50", median(warm_ms), "ms"),
        Figure(GROUP, "turn with a warm sandbox p95", percentile(warm_ms, 95), "ms"),
        Figure(GROUP, "added by the cold sandbox p50", median(added_ms), "ms"),
        Figure(GROUP, "added by the cold sandbox p95", percentile(added_ms, 95), "ms", None, "<= 60"),
    ]
