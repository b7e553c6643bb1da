import { SlipwayError } from '../errors.ts';
import { sh } from '../ssh/shell.ts';
import type { SshSession } from '../ssh/connection.ts';
import { describeConflictingFlag } from './command-line.ts';
import { lastLines, parseAnswers, parseEngineService, requireAnswers, type ScriptAnswers } from './facts.ts';
import { serviceManagers } from './init/registry.ts';

/** A host's disk, memory, load and uptime. Sizes are in bytes. */
export type Vitals = {
  readonly disk: { readonly free: number; readonly total: number; readonly mount: string };
  readonly memory: { readonly free: number; readonly total: number };
  readonly load: readonly number[];
  readonly cpus: number;
  /** Seconds since boot. */
  readonly uptime: number;
};

/** A host's metrics, and sentences about what will stop its engine or keep users of the host from it. */
export type HostStatus = { readonly vitals: Vitals; readonly problems: readonly string[] };

/** Runs the script of `readVitalsScript` on the host. */
export async function gatherVitals(session: SshSession, template: string, address: string): Promise<HostStatus> {
  const { code, stdout, stderr } = await session.exec(sh`sh -s`, { label: 'vitals.sh', stdin: template });
  const answers = parseAnswers(stdout);
  const { first } = answers;
  const numbers = (key: string): readonly number[] => first(key).split(' ').map(Number);
  const [total = NaN, free = NaN] = numbers('disk');
  const vitals = {
    disk: { free: free * 1024, total: total * 1024, mount: first('disk').split(' ').slice(2).join(' ') },
    memory: { free: Number(first('memory_free')) * 1024, total: Number(first('memory_total')) * 1024 },
    load: numbers('load'),
    cpus: Number(first('cpus')),
    uptime: Number(first('uptime')),
  };
  if (code === 0 && !Number.isNaN(total + free) && vitals.uptime > 0) {
    requireAnswers(answers, address);
    return { vitals, problems: findEngineProblems(answers, address) };
  }
  throw new SlipwayError('REMOTE_COMMAND', `The metrics of ${address} could not be read (exit status ${code})`, {
    hint: 'Check that its shell works and that /proc is mounted there',
    detail: lastLines(stderr),
  });
}

function findEngineProblems(answers: ScriptAnswers, address: string): readonly string[] {
  const service = parseEngineService(answers);
  const conflicts = serviceManagers.flatMap(({ engine }) => engine.findConflictingFlag(service) ?? []);
  return [
    ...conflicts.map((flag) => describeConflictingFlag(flag, address)),
    ...(answers.first('local_socket') === 'missing' ? [`/run/docker.sock on ${address} does not exist`] : []),
  ];
}
