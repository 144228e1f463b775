"""The Python SDK's environment worker; run as a program in the environment of any SDK that has one.

With ANTHROPIC_WORK_ID it serves that one claimed item and ends; else it polls until it is told to stop.
"""

import asyncio
import logging
import os

import anthropic


async def main() -> None:
    """Serve with what the environment variables say."""
    logging.basicConfig(level=logging.INFO)
    async with anthropic.AsyncAnthropic(api_key="unused", max_retries=2) as client:
        worker = client.beta.environments.work.worker(
            environment_id=os.environ.get("ANTHROPIC_ENVIRONMENT_ID"),
            environment_key=os.environ.get("ANTHROPIC_ENVIRONMENT_KEY"),
            workdir=os.environ["WORKDIR"],
            max_idle=float(os.environ["LEAVE_AFTER_S"]),
        )
        if "ANTHROPIC_WORK_ID" in os.environ:
            await worker.handle_item()
        else:
            await worker.run()


if __name__ == "__main__":
    asyncio.run(main())
