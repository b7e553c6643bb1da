import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeFileAtomic } from '../../computer/files.ts';
import { prepareSshRoute, scpArgv, parsePathSpec, type PathSpec } from '../../openssh/openssh-command.ts';
import { runInTerminal } from '../../terminal/run-program.ts';
import { pinHostKey } from '../../operations/pin-host-key.ts';
import { formatSshConfig, type SshRoute } from '../../profiles/ssh-options.ts';
import { quote } from '../../ssh/shell.ts';
import { defineDockerMachineCommand, type DockerMachineInvocation } from '../docker-machine-command.ts';
import { DockerMachineError, toDockerMachineError } from '../docker-machine-error.ts';
import { requireHostUp } from './ssh.ts';

export const scp = defineDockerMachineCommand({
  name: 'scp',
  summary: 'Copy files between machines',
  argsUsage: '[arg...]',
  reservesStdout: true,
  details: 'Arguments are [[user@]machine:][path] [[user@]machine:][path].',
  flags: [
    { names: ['recursive', 'r'], kind: 'switch', usage: 'Copy files recursively (required to copy directories)' },
    {
      names: ['delta', 'd'],
      kind: 'switch',
      usage: 'Reduce amount of data sent over network by sending only the differences (uses rsync)',
    },
    {
      names: ['quiet', 'q'],
      kind: 'switch',
      usage: 'Disables the progress meter as well as warning and diagnostic messages from ssh',
    },
  ],
  async run(call) {
    const { values, words, world } = call;
    if (words.length !== 2) throw new DockerMachineError('Improper number of arguments');
    const names = await world.store.listNames();
    const [from, to] = words.map((word) => parseOperand(word, names)) as [ScpOperand, ScpOperand];
    if (from.side.machine === undefined && to.side.machine === undefined)
      throw new DockerMachineError('Error: Neither side names a machine; write NAME:path');
    const routes = await resolveRoutes([from, to], call);
    const folder = await mkdtemp(join(tmpdir(), 'docker-machine-scp-'));
    try {
      const config = join(folder, 'config');
      await writeFileAtomic(config, formatSshConfig(routes), 0o600);
      const flags = [...(values.recursive === true ? ['-r'] : []), ...(values.quiet === true ? ['-q'] : [])];
      const [program, argv] =
        values.delta === true
          ? (['rsync', rsyncArgv(from, to, flags, config)] as const)
          : ([
              'scp',
              scpArgv(
                { from: from.side, to: to.side, routes, flags, windows: world.computer.platform === 'win32' },
                config,
              ),
            ] as const);
      return await runInTerminal(program, argv, world.signal).catch((error: unknown) => {
        throw toDockerMachineError(error);
      });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
});

type ScpOperand = { readonly side: PathSpec; readonly user: string | undefined };

/** `localhost:` is this computer. */
function parseOperand(word: string, names: readonly string[]): ScpOperand {
  const [, user, bare = word] = /^([^@:/]+)@([^:/]+:.*)$/s.exec(word) ?? [];
  const side = parsePathSpec(bare, names);
  if (side.machine === 'localhost' && !names.includes('localhost'))
    return { side: { path: side.path }, user: undefined };
  return { side, user };
}

async function resolveRoutes(
  operands: readonly ScpOperand[],
  call: DockerMachineInvocation,
): Promise<Readonly<Record<string, SshRoute>>> {
  const { world } = call;
  const routes: Record<string, SshRoute> = {};
  for (const { side, user } of operands) {
    const { machine: name } = side;
    if (name === undefined) continue;
    await requireHostUp(name, call, 'copy files');
    try {
      await pinHostKey(name, world);
      const route = await prepareSshRoute(name, world.store);
      routes[name] = user === undefined ? route : { ...route, target: { ...route.target, user } };
    } catch (error) {
      throw toDockerMachineError(error, name);
    }
  }
  return routes;
}

/** rsync takes one remote side, and the way there as a command line. */
function rsyncArgv(from: ScpOperand, to: ScpOperand, flags: readonly string[], config: string): readonly string[] {
  if (from.side.machine !== undefined && to.side.machine !== undefined)
    throw new DockerMachineError('Error: --delta copies between this computer and a machine, not between two machines');
  const place = ({ side: { machine, path } }: ScpOperand): string =>
    machine === undefined ? (/^[^/]*:/.test(path) ? `./${path}` : path) : `${machine}:${path}`;
  const progress = flags.includes('-q') ? [] : ['--progress'];
  return [...progress, '-e', `ssh -F ${quote(config)}`, ...flags, '--', place(from), place(to)];
}
