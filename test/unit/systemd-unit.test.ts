import { describe, expect, test } from 'vitest';
import { isListeningFlag } from '../../src/provision/dockerd-flags.ts';
import type { CommandFlag } from '../../src/provision/init/service-manager.ts';
import { dockerUnit } from '../../src/provision/init/systemd-unit.ts';
import { DEBIAN_UNIT } from './host-facts.ts';

const DROP_IN_PATH = '/etc/systemd/system/docker.service.d/zz-slipway.conf';
const unitText = (...lines: readonly string[]): string =>
  ['# /lib/systemd/system/docker.service', '[Service]', ...lines, ''].join('\n');
const dropIn = (name: string, ...lines: readonly string[]): string =>
  `\n# /etc/systemd/system/docker.service.d/${name}\n${['[Service]', ...lines, ''].join('\n')}`;
const isListening = ({ name }: CommandFlag): boolean => isListeningFlag(name);
/** Returns the command line in Slipway's drop-in, and the sockets that move to daemon.json. */
const commandOf = (definition: string, environmentFiles: Readonly<Record<string, string>> = {}) => {
  const command = dockerUnit.commandOf({ definition, environmentFiles });
  return {
    line: /^ExecStart=(.+)$/m.exec(dockerUnit.formatDropIn(command, isListening, undefined))?.[1],
    sockets: command.flags.filter(({ name }) => name === 'host').map(({ value }) => value),
  };
};

describe('commandOf', () => {
  test('returns the default without a unit', () => {
    expect(commandOf('')).toEqual({
      line: 'dockerd --containerd=/run/containerd/containerd.sock $DOCKER_OPTS',
      sockets: ['fd://'],
    });
  });

  test('separates sockets, in every spelling, from the rest', () => {
    const forms = [
      '-H fd://',
      '-H=fd://',
      '-Hfd://',
      '--host fd://',
      '--host=fd://',
      '-H fd:// --host=tcp://0.0.0.0:2375',
      '',
    ];
    expect(forms.map((form) => commandOf(unitText(`ExecStart=/usr/sbin/dockerd ${form} --debug $OPTS`)))).toEqual([
      ...Array.from({ length: 5 }, () => ({ line: '/usr/sbin/dockerd --debug $OPTS', sockets: ['fd://'] })),
      { line: '/usr/sbin/dockerd --debug $OPTS', sockets: ['fd://', 'tcp://0.0.0.0:2375'] },
      { line: '/usr/sbin/dockerd --debug $OPTS', sockets: [] },
    ]);
  });

  test('separates switches that share a word with a socket, and leaves other words as they are', () => {
    const lineOf = (args: string) => commandOf(unitText(`ExecStart=/usr/sbin/dockerd ${args}`));
    const sockets = ['tcp://0.0.0.0:2375'];
    expect(lineOf('-DH tcp://0.0.0.0:2375 --dns 9.9.9.9')).toEqual({
      line: '/usr/sbin/dockerd -D --dns 9.9.9.9',
      sockets,
    });
    expect(lineOf('-DHtcp://0.0.0.0:2375')).toEqual({ line: '/usr/sbin/dockerd -D', sockets });
    expect(lineOf('-Dlerror -H tcp://0.0.0.0:2375')).toEqual({ line: '/usr/sbin/dockerd -Dlerror', sockets });
    expect(lineOf('-D=false -lerror -Gdocker')).toEqual({
      line: '/usr/sbin/dockerd -D=false -lerror -Gdocker',
      sockets: [],
    });
    const inVariable = unitText('EnvironmentFile=/etc/default/docker', 'ExecStart=dockerd $OPTS');
    expect(commandOf(inVariable, { '/etc/default/docker': 'OPTS="-DH tcp://0.0.0.0:2375"' })).toEqual({
      line: 'dockerd -D',
      sockets,
    });
    const { flags } = dockerUnit.commandOf({ definition: unitText('ExecStart=dockerd -Dlerror') });
    expect(flags).toMatchObject([{ name: 'debug' }, { name: 'log-level', value: 'error' }]);
  });

  test('joins lines that end in a backslash', () => {
    const text = unitText(
      'ExecStart=/usr/bin/dockerd \\',
      '  -H fd:// \\',
      '  --containerd=/run/c.sock',
      'TimeoutSec=0',
    );
    expect(commandOf(text)).toEqual({ line: '/usr/bin/dockerd --containerd=/run/c.sock', sockets: ['fd://'] });
  });

  test('takes the last of several drop-ins', () => {
    const text =
      DEBIAN_UNIT +
      dropIn('10-a.conf', 'ExecStart=', 'ExecStart=dockerd -H fd:// --a') +
      dropIn('20-b.conf', 'ExecStart=', 'ExecStart=dockerd -H unix:///x --b');
    expect(commandOf(text)).toEqual({ line: 'dockerd --b', sockets: ['unix:///x'] });
  });

  test("ignores Slipway's own drop-in", () => {
    const ownDropIn = `\n# ${DROP_IN_PATH}\n[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd --containerd=/run/containerd/containerd.sock $DOCKER_OPTS\n`;
    expect(commandOf(DEBIAN_UNIT + ownDropIn)).toEqual(commandOf(DEBIAN_UNIT));
  });

  test('keeps the default where the engine was installed after the drop-in', () => {
    const ownDropIn = dockerUnit.formatDropIn(dockerUnit.commandOf({ definition: '' }), isListening, undefined);
    const definition = `${DEBIAN_UNIT}\n# ${DROP_IN_PATH}\n${ownDropIn}`;
    expect(commandOf(definition)).toEqual(commandOf(''));
    // But not where somebody has set another command line since.
    const override = dropIn('override.conf', 'ExecStart=', 'ExecStart=/usr/bin/dockerd -H fd:// --debug');
    expect(commandOf(definition + override).line).toBe('/usr/bin/dockerd --debug');
  });

  test('returns the default where the unit has no command', () => {
    expect(commandOf(unitText('Type=notify'))).toEqual(commandOf(''));
  });
});

test('formatDropIn clears the command and sets it again, with a file of variables if there is one', () => {
  const command = dockerUnit.commandOf({ definition: unitText('ExecStart=dockerd --debug') });
  expect(dockerUnit.formatDropIn(command, isListening, '/etc/docker/slipway/engine.env')).toMatchInlineSnapshot(`
      "# Written by Slipway. Where dockerd listens stands in daemon.json, and dockerd refuses to hear it twice.
      [Service]
      ExecStart=
      ExecStart=dockerd --debug
      EnvironmentFile=/etc/docker/slipway/engine.env
      "
    `);
  expect(dockerUnit.formatDropIn(command, isListening, undefined)).not.toContain('EnvironmentFile');
});

describe('variables on the command line', () => {
  const unit = unitText(
    'EnvironmentFile=-/etc/default/docker',
    'ExecStart=/usr/sbin/dockerd -H fd:// $DOCKER_OPTS --log-level=${LEVEL}',
  );
  const defaults = (text: string) => commandOf(unit, { '/etc/default/docker': text });

  test('stay variables if they have no flags about sockets and TLS', () => {
    expect(defaults('DOCKER_OPTS="--dns 9.9.9.9"\nLEVEL=info\n')).toEqual({
      line: '/usr/sbin/dockerd $DOCKER_OPTS --log-level=${LEVEL}',
      sockets: ['fd://'],
    });
  });

  test('are replaced by their other words if they have such flags', () => {
    const text =
      '# DOCKER_OPTS="-H tcp://10.0.0.1:1"\nDOCKER_OPTS="-H tcp://127.0.0.1:2375 --dns 9.9.9.9 \\\n  --tlsverify"\n';
    expect(defaults(text)).toEqual({
      line: '/usr/sbin/dockerd --dns 9.9.9.9 --log-level=${LEVEL}',
      sockets: ['fd://', 'tcp://127.0.0.1:2375'],
    });
    expect(defaults("DOCKER_OPTS='--host=tcp://0.0.0.0:2375'").line).toBe('/usr/sbin/dockerd --log-level=${LEVEL}');
  });

  test("come from the unit's own settings and, where no file sets them, from the running engine", () => {
    const variables = unitText('Environment="OPTIONS=-H tcp://a:1 --debug" X=1', 'ExecStart=dockerd $OPTIONS $MORE');
    expect(commandOf(variables)).toEqual({ line: 'dockerd --debug $MORE', sockets: ['tcp://a:1'] });
    const { flags } = dockerUnit.commandOf({ definition: variables, variables: { MORE: '-H tcp://b:2' } });
    expect(flags.map(({ value }) => value)).toEqual(['tcp://a:1', undefined, 'tcp://b:2']);
  });

  test('name the file and line of each flag', () => {
    const { flags } = dockerUnit.commandOf({
      definition: unit,
      environmentFiles: { '/etc/default/docker': '\n\nDOCKER_OPTS=--tlsverify --dns 9.9.9.9\n' },
    });
    expect(flags.map(({ name, place: { path, line } }) => `${name} ${path}:${line}`)).toEqual([
      'host /lib/systemd/system/docker.service:3',
      'tlsverify /etc/default/docker:3',
      'dns /etc/default/docker:3',
      'log-level /lib/systemd/system/docker.service:3',
    ]);
  });
});

describe('the name of the drop-in', () => {
  const nameFor = (...names: readonly string[]): string | undefined =>
    dockerUnit.dropInPathFor({
      definition: DEBIAN_UNIT + names.map((name) => dropIn(name, 'ExecStart=', 'ExecStart=dockerd')).join(''),
    });

  test('comes after all others that set a command line', () => {
    expect(nameFor()).toBe(DROP_IN_PATH);
    expect(nameFor('override.conf', '99-local.conf', 'zz-docker.conf')).toBe(DROP_IN_PATH);
    for (const name of ['zzz.conf', 'zz-tail.conf']) expect(nameFor(name)).toBe(DROP_IN_PATH.replace('zz-', '~zz-'));
    expect(nameFor('~~.conf')).toBeUndefined();
  });

  test('need not come after a file about something else', () => {
    expect(dockerUnit.dropInPathFor({ definition: DEBIAN_UNIT + dropIn('zzz.conf', 'LimitNOFILE=1') })).toBe(
      DROP_IN_PATH,
    );
  });
});

describe('findConflictingFlag', () => {
  const own = (name: string): string => dropIn(name, 'ExecStart=', 'ExecStart=/usr/sbin/dockerd $DOCKER_OPTS');
  const override = dropIn(
    'override.conf',
    '# mine',
    'ExecStart=',
    'ExecStart=/usr/sbin/dockerd -H fd:// \\',
    ' --debug',
  );
  const conflictOf = (definition: string, environmentFiles = {}): string | undefined => {
    const flag = dockerUnit.findConflictingFlag({ definition, environmentFiles });
    return flag && `${flag.name} ${flag.place.path}:${flag.place.line}`;
  };

  test('finds a flag in a file that overrides the command line of an earlier version', () => {
    expect(conflictOf(DEBIAN_UNIT + own('50-slipway.conf') + override)).toBe(
      'host /etc/systemd/system/docker.service.d/override.conf:4',
    );
  });

  test('finds a flag in a variable of the command line', () => {
    const definition = unitText('EnvironmentFile=/etc/default/docker') + own('zz-slipway.conf');
    expect(conflictOf(definition, { '/etc/default/docker': 'DOCKER_OPTS=-H tcp://0.0.0.0:2375' })).toBe(
      'host /etc/default/docker:1',
    );
  });

  test('accepts a file that comes before, and a host without the drop-in', () => {
    expect(conflictOf(DEBIAN_UNIT + override + own('zz-slipway.conf'))).toBeUndefined();
    expect(conflictOf(DEBIAN_UNIT + override)).toBeUndefined();
  });
});
