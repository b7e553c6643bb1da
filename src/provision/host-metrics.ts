import { SlipwayError } from '../errors.ts';
import { sh } from '../ssh/shell.ts';
import type { SshSession } from '../ssh/connection.ts';
import { lastLines, parseAnswers } from './facts.ts';

/** How a host fares. Sizes are bytes. */
export type Vitals = {
  readonly disk: { readonly free: number; readonly total: number; readonly mount: string };
  readonly memory: { readonly free: number; readonly total: number };
  readonly load: readonly number[];
  readonly cpus: number;
  /** In seconds. */
  readonly uptime: number;
};

export async function gatherVitals(session: SshSession, template: string, address: string): Promise<Vitals> {
  const { code, stdout, stderr } = await session.exec(sh`sh -s`, { label: 'vitals.sh', stdin: template });
  const { first } = parseAnswers(stdout);
  const numbers = (key: string): readonly number[] => first(key).split(' ').map(Number);
  const [total = NaN, free = NaN] = numbers('disk');
  const vitals = {
    disk: { free: free * 1024, total: total * 1024, mount: first('disk').split(' ').slice(2).join(' ') },
    memory: { free: Number(first('memory_free')) * 1024, total: Number(first('memory_total')) * 1024 },
    load: numbers('load'),
    cpus: Number(first('cpus')),
    uptime: Number(first('uptime')),
  };
  if (code === 0 && !Number.isNaN(total + free) && vitals.uptime > 0) return vitals;
  throw new SlipwayError('REMOTE_COMMAND', `${address} could not say how it fares (exit status ${code})`, {
    hint: 'Check that its shell works, and that its /proc is there',
    detail: lastLines(stderr),
  });
}
