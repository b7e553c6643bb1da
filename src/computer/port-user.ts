import { execFile } from 'node:child_process';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { promisify } from 'node:util';

export type PortQuestion = {
  readonly protocol: 'tcp' | 'udp';
  readonly port: number;
  readonly platform: NodeJS.Platform;
};

/**
 * Returns the program that has a port of this computer open, such as `postgres (pid 812)`. Returns undefined if the
 * system does not tell: programs of other users are visible to an administrator only.
 */
export async function findPortUser(question: PortQuestion): Promise<string | undefined> {
  const find = question.platform === 'linux' ? findInProc : question.platform === 'win32' ? findByNetstat : findByLsof;
  return await find(question).catch(() => undefined);
}

// --- Linux -----------------------------------------------------------------------------------------------------------

async function findInProc({ protocol, port }: PortQuestion): Promise<string | undefined> {
  const tables = await Promise.all(
    [protocol, `${protocol}6`].map((name) => readFile(`/proc/net/${name}`, 'utf8').catch(() => '')),
  );
  const links = new Set(tables.flatMap((table) => socketsOnPort(table, port)).map((inode) => `socket:[${inode}]`));
  if (links.size === 0) return undefined;
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    if (!(await hasSocket(pid, links))) continue;
    const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '');
    return formatUser(name, pid);
  }
  return undefined;
}

/** Returns the inodes of the sockets on a port that wait for peers, from a table such as /proc/net/tcp. */
export function socketsOnPort(table: string, port: number): readonly string[] {
  const address = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return table
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local = '', , state = '']) => local.endsWith(address) && ['0A', '07'].includes(state))
    .flatMap(([, , , , , , , , , inode = '0']) => (inode === '0' ? [] : [inode]));
}

async function hasSocket(pid: string, links: ReadonlySet<string>): Promise<boolean> {
  const folder = `/proc/${pid}/fd`;
  // The folders of other users' processes can't be read, and processes end meanwhile.
  const descriptors = await readdir(folder).catch(() => []);
  for (const descriptor of descriptors) {
    if (links.has(await readlink(`${folder}/${descriptor}`).catch(() => ''))) return true;
  }
  return false;
}

// --- macOS and others ------------------------------------------------------------------------------------------------

async function findByLsof({ protocol, port }: PortQuestion): Promise<string | undefined> {
  const state = protocol === 'tcp' ? ['-sTCP:LISTEN'] : [];
  return parseLsof(await run('lsof', ['-nP', `-i${protocol.toUpperCase()}:${port}`, ...state, '-Fpc']));
}

/** Reads the first program of the output of `lsof -Fpc`: a line `pPID`, and a line `cNAME`. */
export function parseLsof(output: string): string | undefined {
  const [, pid, name] = /^p(\d+)\nc(.*)$/m.exec(output) ?? [];
  return pid === undefined ? undefined : formatUser(name ?? '', pid);
}

// --- Windows ---------------------------------------------------------------------------------------------------------

async function findByNetstat({ protocol, port }: PortQuestion): Promise<string | undefined> {
  const pid = parseNetstat(await run('netstat', ['-ano', '-p', protocol]), port);
  if (pid === undefined) return undefined;
  const tasks = await run('tasklist', ['/FI', `PID eq ${pid}`, '/FO', 'CSV', '/NH']);
  return formatUser(/^"([^"]+)"/m.exec(tasks)?.[1] ?? '', pid);
}

/** Returns the process id of the socket that waits for peers on a port, from the output of `netstat -ano`. */
export function parseNetstat(output: string, port: number): string | undefined {
  for (const line of output.split(/\r?\n/)) {
    const [, local = '', peer = '', ...rest] = line.trim().split(/\s+/);
    // The state's name is translated; a socket that waits for peers has none.
    if (local.endsWith(`:${port}`) && /:(0|\*)$/.test(peer)) return rest.at(-1);
  }
  return undefined;
}

async function run(program: string, argv: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(program, argv, { timeout: 3000, windowsHide: true });
  return stdout;
}

function formatUser(name: string, pid: string): string {
  return name.trim() === '' ? `pid ${pid}` : `${name.trim()} (pid ${pid})`;
}
