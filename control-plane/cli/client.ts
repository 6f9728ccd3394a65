/** Asks the agent over its socket. */
import { type IncomingMessage, request } from 'node:http';
import { createInterface } from 'node:readline';
import { SidestepError } from '../model/error.ts';

export interface AgentAddress {
  readonly instance: string;
  readonly runDir: string | undefined;
}

function socketOf({ instance, runDir }: AgentAddress): string {
  return `${runDir ?? `/run/sidestep/${instance}`}/agent.sock`;
}

function open(agent: AgentAddress, path: string, signal?: AbortSignal): Promise<IncomingMessage> {
  const socketPath = socketOf(agent);
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path, agent: false, ...(signal ? { signal } : {}) }, resolve);
    asked.on('error', (cause: NodeJS.ErrnoException) => {
      const denied = cause.code === 'EACCES';
      reject(
        new SidestepError('AGENT_UNREACHABLE', `${socketPath}: ${denied ? 'permission denied' : 'no agent answers'}`, {
          cause,
          ...(denied ? { hint: 'Run it as root.' } : {}),
        }),
      );
    });
    asked.end();
  });
}

async function bodyOf(response: IncomingMessage): Promise<string> {
  let body = '';
  response.setEncoding('utf8');
  for await (const chunk of response) body += chunk;
  return body;
}

async function check(response: IncomingMessage): Promise<IncomingMessage> {
  if (response.statusCode === 200) return response;
  const body = await bodyOf(response);
  if (response.statusCode === 503)
    throw new SidestepError('AGENT_UNREACHABLE', 'the agent is starting', { hint: 'Try again in a moment.' });
  let message = body;
  let hint: string | undefined;
  try {
    const { error } = JSON.parse(body) as { error: { message: string; hint: string } };
    message = error.message;
    hint = error.hint;
  } catch {
    // Not ours: shown as it is.
  }
  throw new SidestepError('INPUT_INVALID', message, hint === undefined ? {} : { hint });
}

/** @throws AGENT_UNREACHABLE */
export async function getJson<T>(agent: AgentAddress, path: string): Promise<T> {
  return JSON.parse(await bodyOf(await check(await open(agent, path)))) as T;
}

/** Lines of a stream, until it ends or `signal` aborts. */
export async function* getLines(agent: AgentAddress, path: string, signal: AbortSignal): AsyncGenerator<string> {
  const response = await check(await open(agent, path, signal));
  try {
    for await (const line of createInterface({ input: response, crlfDelay: Number.POSITIVE_INFINITY }))
      if (line !== '') yield line;
  } catch (error) {
    if (!signal.aborted) throw new SidestepError('AGENT_UNREACHABLE', 'the agent went away', { cause: error });
  }
}
