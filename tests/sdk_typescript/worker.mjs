// The TypeScript SDK's environment worker; run as a program in its own environment.
//
// With ANTHROPIC_WORK_ID it serves that one claimed item and ends; else it polls until it is told to stop.
import Anthropic from '@anthropic-ai/sdk';
import { EnvironmentWorker } from '@anthropic-ai/sdk/helpers/beta/environments';

const ended = new AbortController();
for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => ended.abort());

const worker = new EnvironmentWorker({
  client: new Anthropic({ apiKey: null }),
  environmentId: process.env.ANTHROPIC_ENVIRONMENT_ID,
  environmentKey: process.env.ANTHROPIC_ENVIRONMENT_KEY,
  workdir: process.env.WORKDIR,
  maxIdleMs: Number(process.env.LEAVE_AFTER_S) * 1000,
  signal: ended.signal,
});
if (process.env.ANTHROPIC_WORK_ID) await worker.handleItem();
else await worker.run();
