import { createHash } from 'node:crypto';
import type { EngineSpec } from '../../src/machine/model.ts';
import type { Facts } from '../../src/provision/facts.ts';
import { engineSettingsOf } from '../../src/provision/daemon-json.ts';
import type { PlanInput } from '../../src/provision/plan.ts';
import type { Plan } from '../../src/provision/step.ts';
import { engineOptions } from '../../src/machine/spec.ts';

/** A Debian 12 host without an engine. */
export const bareHost: Facts = {
  become: 'root',
  bootId: '',
  os: {
    id: 'debian',
    idLike: [],
    codename: 'bookworm',
    version: '12',
    name: 'Debian GNU/Linux 12 (bookworm)',
  },
  arch: 'x86_64',
  serviceManager: 'systemd',
  packageManager: 'apt',
  dockerd: undefined,
  packages: {},
  packageSources: {},
  packageKeys: {},
  otherEngines: [],
  engineService: { isActive: false, isEnabled: false, definition: '' },
  daemonJson: undefined,
  slipwayState: undefined,
  restartPending: false,
  lifetimePending: false,
  files: {},
  freeKib: { '/': 10_000_000 },
  clock: undefined,
};

export const DEBIAN_UNIT = `# /lib/systemd/system/docker.service
[Unit]
Description=Docker Application Container Engine

[Service]
Type=notify
ExecStart=/usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock $DOCKER_OPTS
`;

/** A Debian 12 host whose engine runs as its package left it. */
export const hostWithEngine: Facts = {
  ...bareHost,
  dockerd: '/usr/sbin/dockerd',
  packages: { 'docker.io': { state: 'installed', version: '20.10.24+dfsg1-1+deb12u1+b2' } },
  engineService: { isActive: true, isEnabled: true, definition: DEBIAN_UNIT },
};

/** Returns these facts with some replaced. */
export function factsWith(base: Facts, more: Partial<Facts> = {}): Facts {
  return { ...base, ...more };
}

export function engineSpec(more: Partial<EngineSpec> = {}): EngineSpec {
  return { ...engineOptions.parse({}), ...more };
}

export function planInput(facts: Facts, more: Partial<EngineSpec> = {}): PlanInput {
  const engine = engineSpec(more);
  return {
    id: 'id-of-web',
    name: 'web',
    address: '192.0.2.10',
    engine,
    engineSettings: engineSettingsOf(engine),
    facts,
    tls: { ca: 'the ca\n', cert: 'the certificate\n', key: 'the key\n' },
  };
}

const DROP_IN_PATH = '/etc/systemd/system/docker.service.d/zz-slipway.conf';

/** Returns the facts of a host after this plan was applied. An installed engine is Debian's. */
export function factsAfter(before: Facts, plan: Plan): Facts {
  let now = before;
  let dropIn: string | undefined;
  for (const step of plan) {
    const files = { ...now.files };
    let { daemonJson, slipwayState } = now;
    for (const file of step.files) {
      if (file.path === '/etc/docker/daemon.json') daemonJson = file.content;
      else if (file.content === undefined) delete files[file.path];
      else {
        const sha256 = createHash('sha256').update(file.content).digest('hex');
        files[file.path] = { sha256, mode: file.mode, owner: 'root' };
      }
      if (file.path === DROP_IN_PATH) dropIn = file.content;
      if (file.path === '/etc/docker/slipway/state.json') slipwayState = file.content;
    }
    const installed = step.id === 'install-engine' ? hostWithEngine : now;
    now = {
      ...now,
      files,
      daemonJson,
      slipwayState,
      dockerd: installed.dockerd,
      packages: installed.packages,
      engineService: serviceWithDropIn(installed.engineService.definition, dropIn),
      restartPending: false,
      lifetimePending: false,
    };
  }
  return now;
}

/** `systemctl cat` shows the unit, then the drop-ins. */
function serviceWithDropIn(unit: string, dropIn: string | undefined): Facts['engineService'] {
  if (unit === '') return { isActive: false, isEnabled: false, definition: unit };
  const shown = dropIn === undefined ? '' : `\n# ${DROP_IN_PATH}\n${dropIn}`;
  return { isActive: true, isEnabled: true, definition: unit + shown };
}
