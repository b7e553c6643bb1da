import { describe, expect, test } from 'vitest';
import { commandOf, dropIn } from '../../src/provision/docker-unit.ts';
import { bare, DEBIAN_UNIT, facts } from './facts.ts';

const OURS = '/etc/systemd/system/docker.service.d/50-slipway.conf';
const of = (text: string) => commandOf(facts(bare, { unit: { active: true, enabled: true, text } }));
const unit = (...lines: readonly string[]): string =>
  ['# /lib/systemd/system/docker.service', '[Service]', ...lines, ''].join('\n');

describe('the command of a unit', () => {
  test('is the one to come where there is no unit', () => {
    expect(of('')).toEqual({
      line: 'dockerd --containerd=/run/containerd/containerd.sock $DOCKER_OPTS',
      sockets: ['fd://'],
    });
  });

  test('loses its sockets, however they are written, and keeps all else', () => {
    const forms = [
      '-H fd://',
      '-H=fd://',
      '-Hfd://',
      '--host fd://',
      '--host=fd://',
      '-H fd:// --host=tcp://0.0.0.0:2375',
      '',
    ];
    expect(forms.map((form) => of(unit(`ExecStart=/usr/sbin/dockerd ${form} --debug $OPTS`)))).toEqual([
      ...Array.from({ length: 5 }, () => ({ line: '/usr/sbin/dockerd --debug $OPTS', sockets: ['fd://'] })),
      { line: '/usr/sbin/dockerd --debug $OPTS', sockets: ['fd://', 'tcp://0.0.0.0:2375'] },
      { line: '/usr/sbin/dockerd --debug $OPTS', sockets: [] },
    ]);
  });

  test('goes on over lines that end in a backslash', () => {
    const text = unit('ExecStart=/usr/bin/dockerd \\', '  -H fd:// \\', '  --containerd=/run/c.sock', 'TimeoutSec=0');
    expect(of(text)).toEqual({ line: '/usr/bin/dockerd --containerd=/run/c.sock', sockets: ['fd://'] });
  });

  test('is the last one of several drop-ins', () => {
    const drop = (name: string, line: string): string =>
      `\n# /etc/systemd/system/docker.service.d/${name}\n[Service]\nExecStart=\nExecStart=${line}\n`;
    const text =
      DEBIAN_UNIT + drop('10-a.conf', 'dockerd -H fd:// --a') + drop('20-b.conf', 'dockerd -H unix:///x --b');
    expect(of(text)).toEqual({ line: 'dockerd --b', sockets: ['unix:///x'] });
  });

  test('is not read back from our own drop-in', () => {
    const ours = `\n# ${OURS}\n[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd --containerd=/run/containerd/containerd.sock $DOCKER_OPTS\n`;
    expect(of(DEBIAN_UNIT + ours)).toEqual(of(DEBIAN_UNIT));
  });

  test('stays the one to come where the engine came after our drop-in and runs with it', () => {
    const ours = dropIn('[Service]\nExecStart=', of(''), undefined);
    expect(of(`${DEBIAN_UNIT}\n# ${OURS}\n${ours}`)).toEqual(of(''));
  });

  test('is the one to come where a unit has none', () => {
    expect(of(unit('Type=notify'))).toEqual(of(''));
  });
});

test('the drop-in clears the command and states it anew, with the variables where there are some', () => {
  const template = '# Ours.\n[Service]\nExecStart=\n';
  expect(dropIn(template, { line: 'dockerd --debug', sockets: [] }, '/etc/docker/slipway/engine.env'))
    .toMatchInlineSnapshot(`
      "# Ours.
      [Service]
      ExecStart=
      ExecStart=dockerd --debug
      EnvironmentFile=/etc/docker/slipway/engine.env
      "
    `);
  expect(dropIn(template, { line: 'dockerd', sockets: [] }, undefined)).not.toContain('EnvironmentFile');
});
