import { join } from 'node:path';
import { writeFileAtomic } from '../../computer/files.ts';
import { createTemporaryWorkFolder } from '../../computer/work-folder.ts';
import { prepareSshRoute, scpArgv, parsePathSpec, type PathSpec } from '../../openssh/openssh-command.ts';
import { runInTerminal } from '../../terminal/run-program.ts';
import { pinHostKey } from '../../operations/pin-host-key.ts';
import { formatSshConfig, type SshRoute } from '../../ssh/openssh-options.ts';
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
    const { words, world } = call;
    if (words.length !== 2) throw new DockerMachineError('Improper number of arguments');
    const names = await world.store.listNames();
    const [from, to] = words.map((word) => parseOperand(word, names)) as [ScpOperand, ScpOperand];
    if (from.side.machine === undefined && to.side.machine === undefined)
      throw new DockerMachineError('Error: Neither side names a machine; write NAME:path');
    const routes = await resolveRoutes([from, to], call);
    await using work = await createTemporaryWorkFolder('slipway-scp-', world.debug);
    const config = join(work.folder, 'config');
    await writeFileAtomic(config, formatSshConfig(routes), 0o600);
    const { program, argv } = copyCommand({ from, to, routes, config }, call);
    return await runInTerminal(program, argv, world).catch((error: unknown) => {
      throw toDockerMachineError(error);
    });
  },
});

type DockerMachineScpCopy = {
  readonly from: ScpOperand;
  readonly to: ScpOperand;
  readonly routes: Readonly<Record<string, SshRoute>>;
  /** Path of an ssh configuration file with the machines of this copy. */
  readonly config: string;
};

/** Returns the command line of scp, or of rsync with `--delta`. */
function copyCommand(
  { from, to, routes, config }: DockerMachineScpCopy,
  { values, world }: DockerMachineInvocation,
): { readonly program: string; readonly argv: readonly string[] } {
  const flags = [...(values.recursive === true ? ['-r'] : []), ...(values.quiet === true ? ['-q'] : [])];
  if (values.delta === true) return { program: 'rsync', argv: rsyncArgv(from, to, flags, config) };
  const windows = world.computer.platform === 'win32';
  return { program: 'scp', argv: scpArgv({ from: from.side, to: to.side, routes, flags, windows }, config) };
}

/** One side of a copy; `user` overrides the machine's own SSH user. */
type ScpOperand = { readonly side: PathSpec; readonly user: string | undefined };

/** Parses `[[USER@]MACHINE:]PATH`. `localhost:` is this computer, unless a machine has that name. */
function parseOperand(word: string, names: readonly string[]): ScpOperand {
  const [, user, bare = word] = /^([^@:/]+)@([^:/]+:.*)$/s.exec(word) ?? [];
  const side = parsePathSpec(bare, names);
  if (side.machine === 'localhost' && !names.includes('localhost'))
    return { side: { path: side.path }, user: undefined };
  return { side, user };
}

/** Returns the SSH routes of the machines of this copy, by their names. */
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
      const route = await prepareSshRoute(name, world);
      routes[name] = user === undefined ? route : { ...route, target: { ...route.target, user } };
    } catch (error) {
      throw toDockerMachineError(error, name);
    }
  }
  return routes;
}

/** Returns rsync's arguments. rsync copies from or to one remote host, and gets ssh's command line with `-e`. */
function rsyncArgv(from: ScpOperand, to: ScpOperand, flags: readonly string[], config: string): readonly string[] {
  if (from.side.machine !== undefined && to.side.machine !== undefined)
    throw new DockerMachineError('Error: --delta copies between this computer and a machine, not between two machines');
  const location = ({ side: { machine, path } }: ScpOperand): string =>
    machine === undefined ? (/^[^/]*:/.test(path) ? `./${path}` : path) : `${machine}:${path}`;
  const progress = flags.includes('-q') ? [] : ['--progress'];
  return [...progress, '-e', `ssh -F ${quote(config)}`, ...flags, '--', location(from), location(to)];
}
