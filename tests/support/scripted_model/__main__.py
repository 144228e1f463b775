"""Runs the scripted model by itself: ``python -m tests.support.scripted_model --port N``; prints its URL."""

import argparse
import asyncio
import signal

from tests.support.scripted_model.server import ScriptedModel


async def _serve(host: str, port: int) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with ScriptedModel(host, port) as model:
        print(model.url, flush=True)
        await stopped.wait()


def _main() -> None:
    parser = argparse.ArgumentParser(description="A scripted model server for tests and the benchmark.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(options.host, options.port))


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    """The faster loop where it exists: the benchmark's floor should be the machine, not this server."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.Loop


if __name__ == "__main__":
    _main()
