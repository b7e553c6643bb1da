import { describe, expect, test } from 'vitest';
import { planDeprovision, planProvision } from '../../src/provision/plan.ts';
import { dockerUnit } from '../../src/provision/init/systemd-unit.ts';
import type { Facts } from '../../src/provision/facts.ts';
import type { EngineSpec } from '../../src/machine/model.ts';
import { DEBIAN_UNIT, factsWith, planInput, hostWithEngine } from './host-facts.ts';

const DOCKER_MACHINE_DROP_IN = dockerUnit.dockerMachinePath;

const dropInText = (flags: string, environment = ''): string => `# ${DOCKER_MACHINE_DROP_IN}
[Service]
ExecStart=
ExecStart=/usr/bin/dockerd -H tcp://0.0.0.0:2376 -H unix:///var/run/docker.sock ${flags} --tlsverify --tlscacert /etc/docker/ca.pem --tlscert /etc/docker/server.pem --tlskey /etc/docker/server-key.pem --label provider=generic 
Environment=${environment} 
`;

const fileFacts = { sha256: 'x', mode: '644', owner: 'root' };
const hostFacts = (text: string, more: Partial<Facts> = {}): Facts =>
  factsWith(hostWithEngine, {
    engineService: { isActive: true, isEnabled: true, definition: DEBIAN_UNIT + text },
    files: { [DOCKER_MACHINE_DROP_IN]: fileFacts },
    ...more,
  });

function configureStepOf(facts: Facts, engine: Partial<EngineSpec> = {}) {
  const [step] = planProvision(planInput(facts, engine)).filter(({ id }) => id === 'configure-engine');
  const content = (path: string): string | undefined => step?.files.find((file) => file.path === path)?.content;
  const json = content('/etc/docker/daemon.json');
  return {
    step,
    settings: json === undefined ? undefined : (JSON.parse(json) as Record<string, unknown>),
    oldDropIn: step?.files.find(({ path }) => path === DOCKER_MACHINE_DROP_IN),
    newDropIn: content('/etc/systemd/system/docker.service.d/zz-slipway.conf'),
  };
}

describe("Docker Machine's systemd drop-in", () => {
  test('is removed, and its engine settings move to daemon.json', () => {
    const { settings, oldDropIn, newDropIn, step } = configureStepOf(
      hostFacts(
        dropInText(
          '--storage-driver overlay2 --insecure-registry r.example:5000 --registry-mirror https://m.example --log-opt=max-size=5m --debug',
        ),
      ),
      { label: ['team=web'] },
    );
    expect(oldDropIn).toEqual({ path: DOCKER_MACHINE_DROP_IN, content: undefined });
    expect(settings).toEqual({
      hosts: ['fd://', 'tcp://0.0.0.0:2376'],
      tls: true,
      tlsverify: true,
      tlscacert: '/etc/docker/slipway/ca.pem',
      tlscert: '/etc/docker/slipway/server-cert.pem',
      tlskey: '/etc/docker/slipway/server-key.pem',
      'storage-driver': 'overlay2',
      'insecure-registries': ['r.example:5000'],
      'registry-mirrors': ['https://m.example'],
      'log-opts': { 'max-size': '5m' },
      debug: true,
      labels: ['provider=generic', 'team=web'],
    });
    // The command line comes from the package, not from Docker Machine.
    expect(newDropIn).toContain(
      'ExecStart=/usr/sbin/dockerd --containerd=/run/containerd/containerd.sock $DOCKER_OPTS',
    );
    expect(step?.variables).toMatchObject({ ENGINE: 'restart' });
    // The storage driver stays the same, so containers need not be stopped.
    expect(step?.variables).not.toHaveProperty('CONTAINERS');
  });

  test('is overridden by the record where they differ', () => {
    const { settings } = configureStepOf(hostFacts(dropInText('--storage-driver aufs --label team=old')), {
      storageDriver: 'overlay2',
      label: ['team=web'],
    });
    expect(settings).toMatchObject({ 'storage-driver': 'overlay2', labels: ['provider=generic', 'team=web'] });
  });

  test("adds no setting that the package's own command line has", () => {
    const { settings } = configureStepOf(
      hostFacts(dropInText('--containerd=/run/other.sock --storage-driver overlay2')),
    );
    expect(settings).not.toHaveProperty('containerd');
  });

  test('keeps variables that the machine does not set, and is removed once none is left', () => {
    const text = dropInText('', '"A=b c" "PROXY=http://me:x@proxy"');
    expect(configureStepOf(hostFacts(text), { env: ['PROXY=http://new'] }).oldDropIn).toEqual({
      path: DOCKER_MACHINE_DROP_IN,
      mode: '644',
      content: '[Service]\nEnvironment="A=b c"\n',
    });
    expect(configureStepOf(hostFacts(text), { env: ['PROXY=http://new', 'A=d'] }).oldDropIn).toEqual({
      path: DOCKER_MACHINE_DROP_IN,
      content: undefined,
    });
  });

  test('is left unchanged if it only sets variables', () => {
    const content = dockerUnit.formatEnvironmentDropIn([String.raw`A=b "c" \ d`]);
    const read = dockerUnit.parseDockerMachineSettings(`# ${DOCKER_MACHINE_DROP_IN}\n${content}`);
    expect(read).toEqual({ flags: [], environment: [String.raw`A=b "c" \ d`] });
    expect(dockerUnit.formatEnvironmentDropIn(read.environment)).toBe(content);
  });

  test('is also parsed if it starts an old engine', () => {
    const text = `# ${DOCKER_MACHINE_DROP_IN}\n[Service]\nExecStart=\nExecStart=/usr/bin/docker daemon -H tcp://0.0.0.0:2376 --storage-driver devicemapper --label a=b`;
    expect(dockerUnit.parseDockerMachineSettings(text).flags).toEqual(['storage-driver=devicemapper', 'label=a=b']);
  });

  test('stays on a host that is deprovisioned', () => {
    const state = '/etc/docker/slipway/state.json';
    const plan = planDeprovision(
      hostFacts(dropInText(''), { files: { [DOCKER_MACHINE_DROP_IN]: fileFacts, [state]: fileFacts } }),
      '192.0.2.10',
    );
    expect(plan.flatMap(({ files }) => files.map(({ path }) => path))).toEqual([state]);
    expect(planDeprovision(hostFacts(dropInText('')), '192.0.2.10')).toEqual([]);
  });
});
