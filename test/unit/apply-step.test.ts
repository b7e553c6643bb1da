import { describe, expect, test } from 'vitest';
import { applyStep } from '../../src/provision/apply-step.ts';
import type { Become } from '../../src/provision/facts.ts';
import type { Step } from '../../src/provision/step.ts';
import type { ExecResult } from '../../src/ssh/connection.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { fakeSession } from '../fakes/fake-ssh-session.ts';

const step: Step = {
  id: 'configure-engine',
  title: 'Configure the engine',
  template: 'configure.sh',
  variables: { ENGINE: 'restart' },
  files: [{ path: '/etc/x', mode: '600', content: 'the key' }],
};

function startApplyStep(answer: Partial<ExecResult>, become: Become = 'root', sudoPassword?: string) {
  const session = fakeSession({ 'configure.sh': answer });
  const lines: string[] = [];
  const work = applyStep(step, {
    session,
    template: async (name) => `# ${name}\n`,
    become,
    sudoPassword,
    address: 'web',
    log: (line) => lines.push(line),
  });
  return { session, lines, work };
}

describe('applyStep', () => {
  test('runs bootstrap.sh as root, with sudo if the host requires it', async () => {
    const commands = await Promise.all(
      (['root', 'sudo', 'password'] as const).map(async (become) => {
        const { session, work } = startApplyStep({}, become, 'pw');
        await work;
        return session.calls.map(({ command }) => command).join('\n');
      }),
    );
    expect(commands).toMatchInlineSnapshot(`
      [
        "sh -c '# bootstrap.sh'",
        "sudo -n sh -c '# bootstrap.sh'",
        "sudo -k -S -p '' sh -c '# bootstrap.sh'",
      ]
    `);
  });

  test('sends the password first only where sudo asks for it', async () => {
    // The archive begins with the name of its first file, `script`.
    for (const become of ['root', 'sudo'] as const) {
      const { session, work } = startApplyStep({}, become, 'pw');
      await work;
      expect(session.calls[0]?.stdin.subarray(0, 6).toString()).toBe('script');
    }
    const { session, work } = startApplyStep({}, 'password', "p'w");
    await work;
    expect(session.calls[0]?.stdin.subarray(0, 10).toString()).toBe("p'w\nscript");
    expect(session.calls[0]?.command).not.toContain("p'w");
  });

  test('logs the output line by line', async () => {
    const { lines, work } = startApplyStep({ stdout: 'one\ntwo\n' });
    await work;
    expect(lines).toEqual(['one', 'two']);
  });
});

// Scripts mark the reason of a failure with `!! `, what to do about it with `!> `, and what to show at once with `!~ `.
describe('the error of a failed step', () => {
  const describeError = async (answer: Partial<ExecResult>): Promise<string> => {
    const error = await catchRejection(startApplyStep({ code: 1, ...answer }).work);
    return [`${error?.code}: ${error?.message}`, ...(error?.detail ?? []), `→ ${error?.hint}`].join('\n');
  };

  test("states the script's last reason and shows the end of its output", async () => {
    expect(
      await describeError({ stdout: 'Reading…\n', stderr: '!! the first\nE: Unable to locate\n!! no such package\n' }),
    ).toMatchInlineSnapshot(`
      "REMOTE_COMMAND: "Configure the engine" failed on web: no such package
      Reading…
      E: Unable to locate
      → Fix the cause. To continue, run the same command again"
    `);
  });

  test("gives the script's last advice as its hint, and repeats no line that it shows elsewhere", async () => {
    expect(
      await describeError({
        stderr: '!~ Waiting for apt\nE: broken\n!! apt is broken\n!> To repair it: apt-get check\n',
      }),
    ).toMatchInlineSnapshot(`
      "REMOTE_COMMAND: "Configure the engine" failed on web: apt is broken
      E: broken
      → To repair it: apt-get check"
    `);
  });

  test('states the exit status where the script gave no reason', async () => {
    expect(await describeError({ code: 127, stderr: 'tar: not found\n' })).toMatchInlineSnapshot(`
      "REMOTE_COMMAND: "Configure the engine" failed on web: exit status 127
      tar: not found
      → Fix the cause. To continue, run the same command again"
    `);
  });

  test.each([
    'cp: error writing: No space left on device',
    "E: You don't have enough: not enough free space in /var/cache",
    'tar: x: Disk quota exceeded',
  ])('reports a full disk: %s', async (stderr) => {
    expect(await describeError({ stderr: `${stderr}\n!! the files could not be written\n` })).toMatch(
      /^HOST_FULL: "Configure the engine" failed on web: its disk is full\n/,
    );
  });
});
