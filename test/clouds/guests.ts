import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import type { Guest, Guests } from './cloud.ts';

const execFileAsync = promisify(execFile);

/** Returns guests that are only addresses, for tests that never connect. */
export function noGuests(): Guests {
  let last = 0;
  const next = (): string => `203.0.113.${(last++ % 250) + 1}`;
  return {
    async start() {
      return {
        address: next(),
        host: undefined,
        stop: async () => {},
        start: async () => next(),
        remove: async () => {},
      };
    },
  };
}

/** Returns guests that are hosts of the test bed, and apply their user data as the provider's own agent would. */
export function containerGuests(how: { readonly engine: boolean } = { engine: true }): Guests {
  return {
    async start({ userData }) {
      return runInBootSlot(async () => {
        const host = await startHost({ suite: 'trixie', engine: how.engine });
        await simulateFirstBoot(host, userData);
        return toGuest(host, userData);
      });
    },
  };
}

/** The number of hosts that boot at the same time: more would slow each other down until one times out. */
const MAX_CONCURRENT_BOOTS = 4;
let bootingCount = 0;
const waitingForSlot: (() => void)[] = [];

async function runInBootSlot<T>(work: () => Promise<T>): Promise<T> {
  if (bootingCount >= MAX_CONCURRENT_BOOTS) await new Promise<void>((resolve) => waitingForSlot.push(resolve));
  else bootingCount += 1;
  try {
    return await work();
  } finally {
    const next = waitingForSlot.shift();
    if (next) next();
    else bootingCount -= 1;
  }
}

function toGuest(host: BedHost, userData: Readonly<Record<string, string>>): Guest {
  let lastAddress = host.address;
  return {
    address: host.address,
    host,
    async stop() {
      await runDocker('stop', '--time', '20', host.id);
    },
    async start() {
      // As in a cloud, another host takes the address while this one is stopped.
      const formerAddress = lastAddress;
      const others: string[] = [];
      try {
        do {
          if (others.length > 0) await runDocker('stop', '--time', '20', host.id);
          others.push(await startOtherHost());
          await runDocker('start', host.id);
          lastAddress = await readAddress(host.id);
        } while (lastAddress === formerAddress && others.length < 10);
      } finally {
        await Promise.all(others.map((id) => runDocker('rm', '--force', id)));
      }
      await runStartupScript(host, userData);
      return lastAddress;
    },
    remove: async () => host[Symbol.asyncDispose](),
  };
}

/** Starts a container that only takes an address. Returns its id. */
async function startOtherHost(): Promise<string> {
  const label = `slipway-bed-host=${process.pid}`;
  const image = 'slipway-bed:trixie-bare';
  const { stdout } = await runDocker('run', '--detach', '--label', label, '--entrypoint', 'sleep', image, '600');
  return stdout.trim();
}

async function readAddress(id: string): Promise<string> {
  const format = '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}';
  return (await runDocker('inspect', '--format', format, id)).stdout.trim();
}

async function runDocker(...argv: readonly string[]): Promise<{ stdout: string }> {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('DOCKER_')));
  return execFileAsync(
    'docker',
    ['--host', process.env.SLIPWAY_BED_DOCKER_HOST || 'unix:///var/run/docker.sock', ...argv],
    {
      env,
    },
  );
}

/** Applies EC2's user data as cloud-init does, and Compute Engine's metadata as its guest agent does. */
async function simulateFirstBoot(host: BedHost, userData: Readonly<Record<string, string>>): Promise<void> {
  const cloudConfig = userData['user-data'];
  if (cloudConfig !== undefined) await applyCloudConfig(host, cloudConfig);
  for (const line of (userData['ssh-keys'] ?? '').split('\n').filter(Boolean)) {
    const at = line.indexOf(':');
    await addUser(host, line.slice(0, at), line.slice(at + 1));
  }
  await runStartupScript(host, userData);
}

async function runStartupScript(host: BedHost, userData: Readonly<Record<string, string>>): Promise<void> {
  const script = userData['startup-script'];
  if (script === undefined) return;
  // The host does not allow programs in /run.
  const path = '/tmp/startup-script';
  await runOnHost(host, `cat > ${path} && chmod 700 ${path} && ${path}`, script);
}

/** Applies the few keys of a cloud-config that Slipway writes. Another test passes them to cloud-init itself. */
async function applyCloudConfig(host: BedHost, text: string): Promise<void> {
  const key = /^ {2}ed25519_private: \|\n((?: {4}.*\n)+)/m.exec(text)?.[1]?.replaceAll(/^ {4}/gm, '');
  const login = /^ssh_authorized_keys:\n {2}- (".*")$/m.exec(text)?.[1];
  if (key === undefined || login === undefined) throw new Error(`this user data has no keys:\n${text}`);
  await addUser(host, 'admin', JSON.parse(login) as string);
  await runOnHost(
    host,
    'rm -f /etc/ssh/ssh_host_* && umask 077 && cat > /etc/ssh/ssh_host_ed25519_key && ssh-keygen -y -f /etc/ssh/ssh_host_ed25519_key > /etc/ssh/ssh_host_ed25519_key.pub && systemctl reload ssh',
    key,
  );
  for (const [, path = '', mode = '', content = ''] of text.matchAll(
    /^ {2}- path: (.+)\n {4}permissions: '(\d+)'\n {4}owner: root:root\n {4}encoding: gz\+b64\n {4}content: (.+)$/gm,
  ))
    await runOnHost(
      host,
      `mkdir -p "$(dirname ${path})" && base64 -d | gunzip >${path} && chmod ${mode} ${path}`,
      content,
    );
  const commands = /^runcmd:\n((?: {2}- .*\n)+)/m.exec(text)?.[1]?.trimEnd().split('\n') ?? [];
  for (const command of commands) await runOnHost(host, JSON.parse(command.replace(/^ {2}- /, '')) as string, '');
}

async function addUser(host: BedHost, user: string, key: string): Promise<void> {
  await runOnHost(
    host,
    `id ${user} >/dev/null 2>&1 || useradd --create-home --shell /bin/bash ${user}
     echo '${user} ALL=(ALL:ALL) NOPASSWD: ALL' > /etc/sudoers.d/${user}
     install -d -m 700 -o ${user} -g ${user} /home/${user}/.ssh
     cat >> /home/${user}/.ssh/authorized_keys && chown ${user}:${user} /home/${user}/.ssh/authorized_keys`,
    `${key.trim()}\n`,
  );
}

async function runOnHost(host: BedHost, command: string, stdin: string): Promise<void> {
  const { code, stderr } = await host.exec(`set -e\n${command}`, { stdin });
  if (code !== 0) throw new Error(`${command}: exit ${code}: ${stderr.trim()}`);
}
