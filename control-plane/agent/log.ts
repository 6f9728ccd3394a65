/** Logs: one JSON object a line for machines, readable lines on a terminal; secrets never. */
import { type Logger, pino } from 'pino';
import type { Config } from './config.ts';

export type { Logger };

const SECRETS = ['token', 'authorization', 'password', 'key', 'privateKey', 'secret'].flatMap((name) => [
  name,
  `*.${name}`,
]);

export async function createLog(
  config: Pick<Config, 'logLevel' | 'logFormat' | 'instance'>,
  terminal: boolean,
): Promise<Logger> {
  const readable = config.logFormat === 'pretty' || (config.logFormat === 'auto' && terminal);
  const options = {
    level: config.logLevel,
    base: { instance: config.instance },
    redact: { paths: SECRETS, censor: '[redacted]' },
    formatters: { level: (label: string) => ({ level: label }) },
  };
  // Both write synchronously to stderr: the last lines before an exit are the ones that matter.
  if (!readable) return pino(options, pino.destination({ fd: 2, sync: true }));
  const { default: pretty } = await import('pino-pretty');
  return pino(options, pretty({ destination: 2, sync: true, ignore: 'pid,hostname,instance' }));
}
