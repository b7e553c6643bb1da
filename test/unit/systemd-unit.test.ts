import { describe, expect, test } from 'vitest';
import { dockerUnit } from '../../src/provision/init/systemd-unit.ts';
import { DEBIAN_UNIT } from './host-facts.ts';

const DROP_IN_PATH = '/etc/systemd/system/docker.service.d/50-slipway.conf';
const { commandOf, formatDropIn } = dockerUnit;
const unitText = (...lines: readonly string[]): string =>
  ['# /lib/systemd/system/docker.service', '[Service]', ...lines, ''].join('\n');

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
    const drop = (name: string, line: string): string =>
      `\n# /etc/systemd/system/docker.service.d/${name}\n[Service]\nExecStart=\nExecStart=${line}\n`;
    const text =
      DEBIAN_UNIT + drop('10-a.conf', 'dockerd -H fd:// --a') + drop('20-b.conf', 'dockerd -H unix:///x --b');
    expect(commandOf(text)).toEqual({ line: 'dockerd --b', sockets: ['unix:///x'] });
  });

  test("ignores Slipway's own drop-in", () => {
    const ownDropIn = `\n# ${DROP_IN_PATH}\n[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd --containerd=/run/containerd/containerd.sock $DOCKER_OPTS\n`;
    expect(commandOf(DEBIAN_UNIT + ownDropIn)).toEqual(commandOf(DEBIAN_UNIT));
  });

  test('keeps the default where the engine was installed after the drop-in', () => {
    const ownDropIn = formatDropIn(commandOf(''), undefined);
    expect(commandOf(`${DEBIAN_UNIT}\n# ${DROP_IN_PATH}\n${ownDropIn}`)).toEqual(commandOf(''));
  });

  test('returns the default where the unit has no command', () => {
    expect(commandOf(unitText('Type=notify'))).toEqual(commandOf(''));
  });
});

test('formatDropIn clears the command and sets it again, with a file of variables if there is one', () => {
  expect(formatDropIn({ line: 'dockerd --debug', sockets: [] }, '/etc/docker/slipway/engine.env'))
    .toMatchInlineSnapshot(`
      "# Written by Slipway. Where dockerd listens stands in daemon.json, and dockerd refuses to hear it twice.
      [Service]
      ExecStart=
      ExecStart=dockerd --debug
      EnvironmentFile=/etc/docker/slipway/engine.env
      "
    `);
  expect(formatDropIn({ line: 'dockerd', sockets: [] }, undefined)).not.toContain('EnvironmentFile');
});
