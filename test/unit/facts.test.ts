import { describe, expect, test } from 'vitest';
import { gatherFacts, lastLines } from '../../src/provision/facts.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { fakeSession } from '../fakes/fake-ssh-session.ts';

const toBase64 = (text: string): string => Buffer.from(text).toString('base64');
const connection = {
  user: 'ops',
  address: '192.0.2.10',
  sudoPassword: undefined,
  userFlag: { flag: '--generic-ssh-user', needsNewMachine: false },
};

const RECORDED_LINES = [
  'become sudo',
  'os_id debian',
  'os_like ',
  'os_codename bookworm',
  'os_version 12',
  'os_name Debian GNU/Linux 12 (bookworm)',
  'arch x86_64',
  'boot 0f1e-2d3c 17',
  'service_manager systemd',
  'package_manager apt',
  'dockerd /usr/sbin/dockerd',
  'package docker.io installed 20.10.24+dfsg1-1+deb12u1+b2',
  'package docker-ce not-installed ',
  'engine_active yes',
  'engine_enabled yes',
  `engine_definition ${toBase64('# /lib/systemd/system/docker.service\n[Service]\nExecStart=/usr/sbin/dockerd\n')}`,
  `daemon_json ${toBase64('{"debug":true, "é": 1}\n')}`,
  `slipway_state ${toBase64('{"id":"x"}\n')}`,
  'restart_pending yes',
  `sum ${'0123abcd'.repeat(8)}  /etc/docker/slipway/server-key.pem`,
  `sum ${'4567cdef'.repeat(8)}  /etc/docker/slipway/a name.pem`,
  'file 600 root /etc/docker/slipway/server-key.pem',
  'file 644 root /etc/docker/slipway/a name.pem',
  'free 1234 /',
  'free 99 /var/my disk',
  'now 1795521605',
  'complete yes',
  '',
].join('\n');

describe('gatherFacts', () => {
  test.each([
    ['{"live-restore": true,"debug": true}\n', '{"debug": true}\n'],
    ['\n{"live-restore": false,\n  "debug": true\n}', '\n{\n  "debug": true\n}'],
    ['{"live-restore": true}', '{}'],
  ])('leaves out the temporary setting of an interrupted run: %j', async (text, without) => {
    const lines = ['become root', `daemon_json ${toBase64(text)}`, 'complete yes'];
    const linesWithMarker = [...lines, 'file 644 root /etc/docker/slipway/live-restore-lent'];
    const readDaemonJson = async (answer: readonly string[]): Promise<string | undefined> =>
      (await gatherFacts(fakeSession({ 'facts.sh': { stdout: answer.join('\n') } }), 'the script', connection))
        .daemonJson;
    expect(await readDaemonJson(linesWithMarker)).toBe(without);
    // Without Slipway's marker file, the user has set it.
    expect(await readDaemonJson(lines)).toBe(text);
  });

  test('reads all facts from one answer', async () => {
    const session = fakeSession({ 'facts.sh': { stdout: RECORDED_LINES } });
    const now = () => new Date('2026-11-24T12:00:00.900Z');
    expect(await gatherFacts(session, 'the script', connection, now)).toMatchInlineSnapshot(`
      {
        "arch": "x86_64",
        "become": "sudo",
        "bootId": "0f1e-2d3c 17",
        "clock": {
          "aheadSeconds": 5,
          "now": 1795521605,
        },
        "daemonJson": "{"debug":true, "é": 1}
      ",
        "dockerd": "/usr/sbin/dockerd",
        "engineService": {
          "definition": "# /lib/systemd/system/docker.service
      [Service]
      ExecStart=/usr/sbin/dockerd
      ",
          "isActive": true,
          "isEnabled": true,
        },
        "files": {
          "/etc/docker/slipway/a name.pem": {
            "mode": "644",
            "owner": "root",
            "sha256": "4567cdef4567cdef4567cdef4567cdef4567cdef4567cdef4567cdef4567cdef",
          },
          "/etc/docker/slipway/server-key.pem": {
            "mode": "600",
            "owner": "root",
            "sha256": "0123abcd0123abcd0123abcd0123abcd0123abcd0123abcd0123abcd0123abcd",
          },
        },
        "freeKib": {
          "/": 1234,
          "/var/my disk": 99,
        },
        "lifetimePending": false,
        "os": {
          "codename": "bookworm",
          "id": "debian",
          "idLike": [],
          "name": "Debian GNU/Linux 12 (bookworm)",
          "version": "12",
        },
        "otherEngines": [],
        "packageKeys": {},
        "packageManager": "apt",
        "packageSources": {},
        "packages": {
          "docker-ce": {
            "state": "not-installed",
            "version": "",
          },
          "docker.io": {
            "state": "installed",
            "version": "20.10.24+dfsg1-1+deb12u1+b2",
          },
        },
        "restartPending": true,
        "serviceManager": "systemd",
        "slipwayState": "{"id":"x"}
      ",
      }
    `);
    expect(session.calls).toHaveLength(1);
  });

  test('reads masked units and the listener on the port of the engine', async () => {
    const lines = ['become root', 'masked_unit docker.service masked', 'masked_unit docker.socket masked-runtime'];
    const factsOf = async (...more: readonly string[]) => {
      const stdout = [...lines, ...more, 'complete yes'].join('\n');
      return await gatherFacts(fakeSession({ 'facts.sh': { stdout } }), '', connection);
    };
    const facts = await factsOf('port_holder 2376 812 nginx.service nginx: master');
    expect(facts.engineService.maskedUnits).toEqual([
      { unit: 'docker.service', isRuntime: false },
      { unit: 'docker.socket', isRuntime: true },
    ]);
    expect(facts.portHolder).toEqual({ port: 2376, pid: 812, unit: 'nginx.service', program: 'nginx: master' });
    const { portHolder } = await factsOf('port_holder 2376 812 - -');
    expect(portHolder).toEqual({ port: 2376, pid: 812, unit: undefined, program: undefined });
    expect((await factsOf()).portHolder).toBeUndefined();
  });

  test('reads a bare host as one without packages, files and an engine', async () => {
    const stdout = 'become root\nos_id alpine\nos_like \nos_name \narch aarch64\ncomplete yes\n';
    const facts = await gatherFacts(fakeSession({ 'facts.sh': { stdout } }), '', connection);
    expect(facts).toMatchObject({
      serviceManager: undefined,
      packageManager: undefined,
      daemonJson: undefined,
      packages: {},
      files: {},
    });
    expect(facts.dockerd).toBeUndefined();
    expect(facts.os.name).toBe('alpine');
    expect(facts.engineService).toEqual({ isActive: false, isEnabled: false, definition: '' });
  });

  test('has no clock where the host prints no valid time', async () => {
    for (const time of ['', 'later', '-1', '1e9', '9'.repeat(13)]) {
      const session = fakeSession({ 'facts.sh': { stdout: `become root\nnow ${time}\ncomplete yes\n` } });
      expect((await gatherFacts(session, '', connection)).clock, time).toBeUndefined();
    }
  });

  test('distinguishes an empty daemon.json from a missing one', async () => {
    const stdout = 'become root\ndaemon_json \ncomplete yes\n';
    expect((await gatherFacts(fakeSession({ 'facts.sh': { stdout } }), '', connection)).daemonJson).toBe('');
  });

  test('sends the sudo password over stdin, quoted, and never in the command', async () => {
    const session = fakeSession({ 'facts.sh': { stdout: 'become password\ncomplete yes\n' } });
    await gatherFacts(session, 'the script', { ...connection, sudoPassword: "it's $secret" });
    const [call] = session.calls;
    expect(call?.command).toBe('sh -s');
    expect(call?.stdin.toString()).toBe(`SUDO_PASSWORD='it'\\''s $secret'\nthe script`);
  });
});

describe("gatherFacts, for a user who can't become root,", () => {
  const describeError = async (stdout: string, sudoPassword?: string): Promise<string> => {
    const error = await catchRejection(
      gatherFacts(fakeSession({ 'facts.sh': { stdout } }), '', { ...connection, sudoPassword }),
    );
    return `${error?.code}: ${error?.message} → ${error?.hint}`;
  };

  test('reports what is missing and what to do', async () => {
    expect(await describeError('become missing\n')).toMatchInlineSnapshot(
      `"SUDO: ops on 192.0.2.10 is not root, and sudo is not installed there → Install sudo there and allow ops to use it, or log in as root: --generic-ssh-user root"`,
    );
    expect(await describeError('become none\n')).toMatchInlineSnapshot(
      `"SUDO: ops on 192.0.2.10 can't become root without a password → Set SLIPWAY_SUDO_PASSWORD, allow ops to use sudo there, or log in as root: --generic-ssh-user root"`,
    );
    expect(await describeError('become none\n', 'wrong')).toMatchInlineSnapshot(
      `"SUDO: ops on 192.0.2.10 can't become root with the specified sudo password → Set SLIPWAY_SUDO_PASSWORD, allow ops to use sudo there, or log in as root: --generic-ssh-user root"`,
    );
  });

  test.each([
    [
      { flag: '--ec2-ssh-user', needsNewMachine: true },
      ', or remove the machine and create it again with --ec2-ssh-user root',
    ],
    [undefined, ''],
  ])("names only the flag of the machine's driver: %o", async (userFlag, rest) => {
    const { userFlag: _generic, ...host } = connection;
    const ofDriver = { ...host, ...(userFlag === undefined ? {} : { userFlag }) };
    const session = fakeSession({ 'facts.sh': { stdout: 'become none\n' } });
    expect((await catchRejection(gatherFacts(session, '', ofDriver)))?.hint).toBe(
      `Set SLIPWAY_SUDO_PASSWORD, allow ops to use sudo there${rest}`,
    );
  });

  test('does not print the password that was wrong', async () => {
    expect(await describeError('become none\n', 'hunter2')).not.toContain('hunter2');
  });
});

const LOGIN_AS_ADMIN = 'Please login as the user "admin" rather than the user "root".';

test.each([
  ['no answer', '', 0, 'its answer is incomplete', ['sh: not found']],
  ['only a greeting', 'Welcome!\n', 0, 'its answer is incomplete', ['Welcome!', 'sh: not found']],
  ['a shell that ended', 'become root\n', 1, 'its shell ended with exit status 1', ['sh: not found']],
  [
    'an answer that breaks off',
    RECORDED_LINES.replace(/now .*/s, ''),
    0,
    'its answer is incomplete',
    ['sh: not found'],
  ],
  ['an unknown answer', 'become king\ncomplete yes\n', 0, 'its answer is incomplete', ['sh: not found']],
  [
    'a command instead of a shell',
    `${LOGIN_AS_ADMIN}\n\n`,
    142,
    'its shell ended with exit status 142',
    [LOGIN_AS_ADMIN, 'sh: not found'],
  ],
])('gatherFacts fails for a host with %s', async (_kind, stdout, code, why, detail) => {
  const session = fakeSession({ 'facts.sh': { stdout, stderr: 'sh: not found\n', code } });
  expect(await catchRejection(gatherFacts(session, '', connection))).toMatchObject({
    code: 'REMOTE_COMMAND',
    message: `The facts of 192.0.2.10 could not be gathered: ${why}`,
    hint: stdout.startsWith(LOGIN_AS_ADMIN)
      ? 'To use the user that the host names, log in as admin: --generic-ssh-user admin'
      : 'Check that ops gets a shell: ssh ops@192.0.2.10 true',
    detail,
  });
});

test.each(['Welcome to web!\n\n', 'become what you want\n', '\u001b]0;ops@web\u0007\n'])(
  'gatherFacts ignores a greeting that the host prints before the answer: %j',
  async (greeting) => {
    const session = fakeSession({ 'facts.sh': { stdout: `${greeting}${RECORDED_LINES}` } });
    expect(await gatherFacts(session, '', connection)).toMatchObject({ become: 'sudo', os: { id: 'debian' } });
  },
);

test('lastLines leaves out empty lines', () => {
  expect(lastLines('a\n\nb  \n\n c\n', 2)).toEqual(['b', ' c']);
});
