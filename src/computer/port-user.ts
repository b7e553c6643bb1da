/** Finds the program that uses a port of this computer, so that a message can name it. */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { askProgram } from './child-process.ts';
import type { Computer } from './computer.ts';

export type ComputerPort = { readonly protocol: 'tcp' | 'udp'; readonly port: number };
export type PortCall = { readonly computer: Computer; readonly signal: AbortSignal };
type PortUser = { readonly pid: number; readonly name: string };

const ANSWER_SECONDS = 2;
/** The states that /proc/net shows for a socket that listens, and for a UDP socket without a peer. */
const OPEN_STATES = { tcp: '0A', udp: '07' } as const;

/**
 * Returns the program that uses a port: `postgres (pid 812)`, or `machine "web"` for a port that Slipway opened.
 * Returns undefined if the system does not tell, most often because the program is another user's.
 */
export async function findPortUser(port: ComputerPort, call: PortCall): Promise<string | undefined> {
  const user = await findUser(port, call).catch(() => undefined);
  if (user === undefined) return undefined;
  const machine = call.computer.platform === 'linux' ? await findMachineName(user.pid) : undefined;
  return machine === undefined ? `${user.name} (pid ${user.pid})` : `machine "${machine}"`;
}

async function findUser(port: ComputerPort, call: PortCall): Promise<PortUser | undefined> {
  if (call.computer.platform === 'linux') return await findUserInProc(port);
  if (call.computer.platform === 'win32') return await findUserByNetstat(port, call);
  return await findUserByLsof(port, call);
}

async function findUserInProc({ protocol, port }: ComputerPort): Promise<PortUser | undefined> {
  const tables = await Promise.all(
    [protocol, `${protocol}6`].map((table) => readFile(`/proc/net/${table}`, 'utf8').catch(() => '')),
  );
  const sockets = new Set(tables.flatMap((table) => socketsOnPort(table, port, OPEN_STATES[protocol])));
  if (sockets.size === 0) return undefined;
  for (const pid of (await readdir('/proc')).filter((entry) => /^\d+$/.test(entry))) {
    // The process may end at this moment, or belong to another user.
    const files = await readdir(`/proc/${pid}/fd`).catch(() => []);
    for (const file of files) {
      const target = await readlink(`/proc/${pid}/fd/${file}`).catch(() => '');
      if (sockets.has(target)) return { pid: Number(pid), name: (await readFile(`/proc/${pid}/comm`, 'utf8')).trim() };
    }
  }
  return undefined;
}

/** Pure. Returns the sockets in a table of /proc/net that are open on a port, as /proc/PID/fd names them. */
export function socketsOnPort(table: string, port: number, state: string): readonly string[] {
  return table
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local = '', , current]) => current === state && parseInt(local.split(':')[1] ?? '', 16) === port)
    .map((columns) => `socket:[${columns[9]}]`);
}

/** Returns the machine of a process with which Slipway opens ports: a VM's QEMU, or the link of a machine. */
async function findMachineName(pid: number): Promise<string | undefined> {
  return machineNameIn((await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0'));
}

/** Pure. Returns the machine's name in the command line of a VM or a link. */
export function machineNameIn(argv: readonly string[]): string | undefined {
  const vmName = /^slipway-(.+)$/.exec(argv[argv.indexOf('-name') + 1] ?? '')?.[1];
  if (argv.includes('-name') && vmName !== undefined) return vmName;
  return argv[2] === 'link' && /(slipway|docker-machine)[^/\\]*$/.test(argv[1] ?? '') ? argv[3] : undefined;
}

async function findUserByLsof({ protocol, port }: ComputerPort, call: PortCall): Promise<PortUser | undefined> {
  const which = protocol === 'tcp' ? [`-iTCP:${port}`, '-sTCP:LISTEN'] : [`-iUDP:${port}`];
  const { lines } = await askProgram('lsof', ['-nP', ...which, '-Fpc'], { ...call, seconds: ANSWER_SECONDS });
  const fieldOf = (key: string): string | undefined => lines.find((line) => line.startsWith(key))?.slice(1);
  const [pid, name] = [fieldOf('p'), fieldOf('c')];
  return pid === undefined || name === undefined ? undefined : { pid: Number(pid), name };
}

async function findUserByNetstat({ protocol, port }: ComputerPort, call: PortCall): Promise<PortUser | undefined> {
  const how = { ...call, seconds: ANSWER_SECONDS };
  const { lines } = await askProgram('netstat', ['-ano'], how);
  const columns = lines.map((line) => line.trim().split(/\s+/));
  const pid = columns
    .find(([kind = '', local = '']) => kind.toLowerCase() === protocol && local.endsWith(`:${port}`))
    ?.at(-1);
  if (pid === undefined) return undefined;
  const tasks = await askProgram('tasklist', ['/fi', `PID eq ${pid}`, '/fo', 'csv', '/nh'], how);
  const name = /^"([^"]+)"/.exec(tasks.lines[0] ?? '')?.[1];
  return name === undefined ? undefined : { pid: Number(pid), name };
}
