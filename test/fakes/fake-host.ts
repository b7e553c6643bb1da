import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer as createTlsServer, type Server } from 'node:https';
import { parseTar } from 'nanotar';
import type { ConnectSsh } from '../../src/ssh/connection.ts';
import { DEBIAN_UNIT } from '../unit/host-facts.ts';
import { fakeSession, type ExecCall } from './fake-ssh-session.ts';
import { findFreePort } from './free-port.ts';

const VITALS = 'disk 4 2 /\nmemory_total 8\nmemory_free 6\nload 0.10 0.20 0.30\ncpus 2\nuptime 7200\n';
const DROP_IN = '/etc/systemd/system/docker.service.d/zz-slipway.conf';

/**
 * A Debian host in memory on 127.0.0.1: it answers the templates' scripts and keeps the files that they write. Its
 * "engine" is an HTTPS server that starts with the certificates among these files.
 */
export type FakeHost = AsyncDisposable & {
  readonly address: string;
  readonly port: number;
  /** The host key that its SSH server shows. */
  hostKey: string;
  readonly connect: ConnectSsh;
  readonly files: Map<string, { readonly content: string; readonly mode: string }>;
  /** Labels of all remote executions, in order. */
  readonly executions: string[];
  /** The host keys that clients required, one per connection. */
  readonly expectedHostKeys: (string | undefined)[];
  readonly engineStarts: () => number;
  /** Starts the engine, if it is installed, as the init system does at boot. */
  boot(): Promise<void>;
  halt(): Promise<void>;
  /** If set, dockerd accepts every client. */
  acceptsAnyClient: boolean;
  /** Its clock, in seconds since 1970, if it reports one. */
  clockSeconds: number | undefined;
  /** How often it has booted; a requested reboot counts only if it `obeys`. */
  bootCount: number;
  obeysReboot: boolean;
};

export async function startFakeHost(has: { readonly engine: boolean }): Promise<FakeHost> {
  const port = await findFreePort();
  const files: FakeHost['files'] = new Map();
  const executions: string[] = [];
  const expectedHostKeys: (string | undefined)[] = [];
  let installed = has.engine;
  let starts = 0;
  let server: Server | undefined;

  const text = (path: string): string => files.get(path)?.content ?? '';
  async function stop(): Promise<void> {
    server?.closeAllConnections();
    if (server) await once(server.close(), 'close');
    server = undefined;
  }
  async function start(): Promise<void> {
    await stop();
    starts += 1;
    if (!files.has('/etc/docker/daemon.json')) return;
    server = createTlsServer(
      {
        ca: text('/etc/docker/slipway/ca.pem'),
        cert: text('/etc/docker/slipway/server-cert.pem'),
        key: text('/etc/docker/slipway/server-key.pem'),
        requestCert: true,
        rejectUnauthorized: !host.acceptsAnyClient,
      },
      (_request, response) =>
        response.end(
          JSON.stringify({
            Version: '20.10',
            ApiVersion: '1.41',
            Os: 'linux',
            Arch: 'amd64',
            Containers: 3,
            ContainersRunning: 1,
            ContainersPaused: 0,
            ContainersStopped: 2,
            Images: 5,
          }),
        ),
    );
    await once(server.listen(port, '127.0.0.1'), 'listening');
  }

  const facts = (): string => {
    const base64 = (content: string): string => Buffer.from(content).toString('base64');
    const unit = files.has(DROP_IN) ? `${DEBIAN_UNIT}\n# ${DROP_IN}\n${text(DROP_IN)}` : DEBIAN_UNIT;
    const lines = [
      'become root',
      'complete yes',
      'os_id debian',
      'os_codename bookworm',
      'os_name Debian GNU/Linux 12 (bookworm)',
      'arch x86_64',
      `boot ${host.bootCount}`,
      'service_manager systemd',
      'package_manager apt',
      'free 9000000 /',
    ];
    if (installed) lines.push('dockerd /usr/sbin/dockerd', 'package docker.io installed 20.10');
    if (installed) lines.push('engine_active yes', 'engine_enabled yes', `engine_definition ${base64(unit)}`);
    for (const [path, { content, mode }] of files) {
      if (path === '/etc/docker/daemon.json') lines.push(`daemon_json ${base64(content)}`);
      else
        lines.push(`sum ${createHash('sha256').update(content).digest('hex')}  ${path}`, `file ${mode} root ${path}`);
      if (path === '/etc/docker/slipway/state.json') lines.push(`slipway_state ${base64(content)}`);
    }
    if (host.clockSeconds !== undefined) lines.push(`now ${host.clockSeconds}`);
    return `${lines.join('\n')}\n`;
  };

  async function configure({ stdin }: ExecCall): Promise<object> {
    const archive = new Map(parseTar(stdin).map((entry) => [entry.name, entry.text]));
    const script = archive.get('script') ?? '';
    const [, manifest = ''] = /^MANIFEST='([^']*)'/m.exec(script) ?? [];
    for (const line of manifest.split('\n').filter(Boolean)) {
      const [mode = '', name = '', path = ''] = line.split(' ');
      if (mode === '-') files.delete(path);
      else files.set(path, { content: archive.get(`files/${name}`) ?? '', mode: mode === '=' ? '644' : mode });
    }
    if (/^ENGINE='(re)?start'/m.test(script)) await start();
    return {};
  }

  const host: FakeHost = {
    address: '127.0.0.1',
    port,
    hostKey: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA',
    acceptsAnyClient: false,
    clockSeconds: undefined,
    bootCount: 1,
    obeysReboot: true,
    files,
    executions,
    expectedHostKeys,
    engineStarts: () => starts,
    async boot() {
      if (installed) await start();
    },
    halt: stop,
    async connect(target, _side, onHostKey) {
      expectedHostKeys.push(target.hostKey);
      onHostKey(
        target,
        host.hostKey,
        target.hostKey === undefined ? { verdict: 'first-seen' } : { verdict: 'accepted', because: 'pinned' },
      );
      const counted =
        (answer: (call: ExecCall) => object | Promise<object>) =>
        async (call: ExecCall): Promise<object> => {
          executions.push(call.label);
          return answer(call);
        };
      return fakeSession({
        'facts.sh': counted(() => ({ stdout: facts() })),
        'configure.sh': counted(configure),
        'life.sh': counted(configure),
        'reboot.sh': counted(async () => {
          if (!host.obeysReboot) return {};
          host.bootCount += 1;
          await start();
          return {};
        }),
        'vitals.sh': counted(() => ({ stdout: VITALS })),
        'check-packages.debian.sh': counted(() => ({})),
        'install-engine.debian.sh': counted(async ({ stdin }) => {
          if (/^MODE='preview'/m.test(stdin.toString())) return { stdout: 'package upgrade docker.io 20.10 28.0\n' };
          installed = true;
          await start();
          return {};
        }),
      });
    },
    [Symbol.asyncDispose]: stop,
  };
  return host;
}
