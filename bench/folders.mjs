// The group `folders`: a folder of this computer, mounted with sshfs over SSH. One side is Slipway's server, which the
// machine reaches over a connection that the computer opened; the floor is OpenSSH's own sftp-server.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';

const run = promisify(execFile);
const library = fileURLToPath(new URL('../templates/link', import.meta.url));

export async function findFoldersProblem() {
  if (process.getuid?.() !== 0) return 'only root can mount';
  const missing = [];
  for (const program of ['sshfs', 'perl', '/usr/sbin/sshd', '/usr/lib/openssh/sftp-server', 'git']) {
    await run('sh', ['-c', 'command -v "$1"', 'sh', program]).catch(() => missing.push(program));
  }
  return missing.length === 0 ? undefined : `${missing.join(', ')} is missing`;
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  return port;
}

/** Starts an SSH server of this computer for root, with one key. */
async function startSshServer(folder) {
  for (const name of ['host', 'login']) await run('ssh-keygen', ['-qt', 'ed25519', '-N', '', '-f', join(folder, name)]);
  const keys = join(folder, 'keys');
  await writeFile(keys, await readFile(join(folder, 'login.pub')));
  await chmod(keys, 0o600);
  await mkdir('/run/sshd', { recursive: true });
  const port = await freePort();
  const options = [`HostKey=${folder}/host`, `AuthorizedKeysFile=${keys}`, 'StrictModes=no', 'PidFile=none'];
  options.push('ListenAddress=127.0.0.1', 'PermitRootLogin=yes', 'Subsystem=sftp /usr/lib/openssh/sftp-server');
  const argv = ['-D', '-p', String(port), '-f', '/dev/null', ...options.flatMap((option) => ['-o', option])];
  return { port, key: join(folder, 'login'), process: spawn('/usr/sbin/sshd', argv, { stdio: 'ignore' }) };
}

async function waitForMount(path, mount) {
  while (!(await readFile('/proc/self/mounts', 'utf8')).includes(` ${path} fuse.sshfs `)) {
    if (mount.exitCode !== null) throw new Error(`sshfs ended with ${mount.exitCode}`);
    await sleep(50);
  }
}

/** Mounts with the script and the connection that a machine has. */
async function mountOurs(folder, { port, key }) {
  const [source, mounted] = [join(folder, 'ours'), join(folder, 'ours-mounted')];
  await writeFile(join(folder, 'one'), `folder='${mounted}'\n`);
  const env = { ...process.env, LIBRARY: library, MOUNTS: folder, RUN: folder };
  const mount = spawn('sh', [join(library, 'mount.sh'), 'run', 'one'], { env, stdio: ['ignore', 'ignore', 'inherit'] });
  await waitForMount(mounted, mount);
  // Node can't import TypeScript: esbuild bundles the server, and a process of its own serves, as the link does.
  const server = join(folder, 'server.cjs');
  const entry = `
    import { readFileSync } from 'node:fs';
    import { connect } from 'node:net';
    import ssh2 from 'ssh2';
    import { createFolderServer } from './src/link/folders/sftp-server.ts';
    const server = createFolderServer({
      folders: [{ folder: ${JSON.stringify(source)}, machinePath: ${JSON.stringify(mounted)}, isReadOnly: false }],
      secretFolders: [${JSON.stringify(join(folder, 'ours/.ssh'))}],
    });
    const client = new ssh2.Client();
    client.on('ready', () => {
      client.exec(${JSON.stringify(`perl ${library}/relay.pl ${folder}/mount-one.sock`)}, (error, channel) => {
        if (error) throw error;
        server.serve(channel);
      });
    });
    const sock = connect({ host: '127.0.0.1', port: ${port}, noDelay: true });
    client.connect({ sock, username: 'root', privateKey: readFileSync(${JSON.stringify(key)}) });
  `;
  await build({
    stdin: { contents: entry, resolveDir: fileURLToPath(new URL('..', import.meta.url)), loader: 'ts' },
    outfile: server,
    bundle: true,
    format: 'cjs',
    platform: 'node',
    external: ['*.node', 'cpu-features'],
    logLevel: 'error',
  });
  const link = spawn(process.execPath, [server], { stdio: ['ignore', 'ignore', 'inherit'] });
  return { mounted, mount, end: () => link.kill() };
}

/** Mounts as anybody does with OpenSSH on both sides, with the same options of sshfs. */
async function mountFloor(folder, { port, key }) {
  const [source, mounted] = [join(folder, 'floor'), join(folder, 'floor-mounted')];
  const { stdout } = await run('sh', ['-c', 'sshfs --help 2>&1']).catch(({ stdout }) => ({ stdout }));
  const links = stdout.includes('no_contain_symlinks') ? ',no_contain_symlinks' : '';
  const options = [`IdentityFile=${key}`, 'StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'LogLevel=ERROR'];
  options.push(`allow_other,no_check_root,dcache_timeout=1,max_read=65536,max_write=65536${links}`);
  const argv = ['-f', '-p', String(port), '-o', options.join(','), `root@127.0.0.1:${source}`, mounted];
  const mount = spawn('sshfs', argv, { stdio: ['ignore', 'ignore', 'inherit'] });
  await waitForMount(mounted, mount);
  return { mounted, mount, end() {} };
}

const PREPARE = `
  for d in $(seq 100); do mkdir "tree-$d"; for f in $(seq 100); do echo "$f" >"tree-$d/file-$f"; done; done
  git init -q . && git add . && git -c user.name=a -c user.email=a@b.c commit -qm one
`;

/** Each script runs in the mounted folder; $1 is a file of 200 MB beside it. */
const WORK = [
  ['find -ls of 10,000 files', 'find . -ls >/dev/null'],
  ['create 2,000 files', 'mkdir new; for i in $(seq 2000); do echo "$i" >"new/$i"; done'],
  ['read 2,000 files', 'cat new/* >/dev/null'],
  ['remove 2,000 files', 'rm -r new'],
  ['write 200 MB', 'cat "$1" >big; sync big'],
  ['read 200 MB', 'cat big >/dev/null; rm big'],
  ['git status of 10,000 files', 'git -c safe.directory="*" status >/dev/null'],
];

/** Measures each work alternately on both sides, with both mounted at the same time. */
export async function measureFolders({ workFolder, times, toRow }) {
  const folder = join(workFolder, 'folders');
  for (const name of ['ours', 'ours-mounted', 'floor', 'floor-mounted'])
    await mkdir(join(folder, name), { recursive: true });
  const big = join(folder, 'big');
  await run('sh', ['-c', 'head -c 200000000 /dev/urandom >"$0"', big]);
  for (const name of ['ours', 'floor']) await run('sh', ['-ec', PREPARE], { cwd: join(folder, name) });
  const ssh = await startSshServer(folder);
  const sides = [await mountOurs(folder, ssh), await mountFloor(folder, ssh)];
  try {
    const timeIn = async ({ mounted }, script) => {
      const started = performance.now();
      // The shell changes its folder itself, because Node would wait for the mount together with it.
      await run('sh', ['-ec', `cd "$0"; ${script}`, mounted, big]);
      return (performance.now() - started) / 1000;
    };
    const rows = new Map(WORK.map(([what]) => [what, { ours: [], floor: [] }]));
    for (let index = 0; index < times; index += 1) {
      for (const [what, script] of WORK) {
        const row = rows.get(what);
        // Whoever is first pays for a cold cache of the computer, so they take turns.
        const order = index % 2 === 0 ? ['ours', 'floor'] : ['floor', 'ours'];
        for (const name of order) row[name].push(await timeIn(sides[name === 'ours' ? 0 : 1], script));
      }
    }
    return [...rows].map(([what, samples]) => toRow(what, "sshfs with OpenSSH's sftp-server", samples));
  } finally {
    for (const { mount, end } of sides) {
      const ended = once(mount, 'exit');
      mount.kill();
      await ended;
      end();
    }
    await run('chattr', ['-i', join(folder, 'ours-mounted')]).catch(() => {});
    ssh.process.kill();
  }
}
