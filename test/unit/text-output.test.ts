import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Cli } from '../../src/cli/command.ts';
import { ls } from '../../src/cli/commands/ls.ts';
import { planResult } from '../../src/cli/commands/provision.ts';
import { status } from '../../src/cli/commands/status.ts';
import { formatFields, formatError, formatTable } from '../../src/terminal/text-output.ts';
import { createPlainView, createProgress } from '../../src/terminal/progress-views.ts';
import { SlipwayError } from '../../src/errors.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';
import { fakeSession } from '../fakes/fake-ssh-session.ts';
import { worldIn } from '../fakes/test-world.ts';
import { hostileText } from './hostile-text.ts';

/** Characters that move the cursor, set colors, ring the bell, set the window title or change the text direction. */
const CONTROL_CHARACTERS = /[\p{Cf}\u2028\u2029]|(?!\n)\p{Cc}/u;
const HOSTILE_TEXT = '\u001B[2J\u001B]0;owned\u0007\u009B1Aevil\u202E';

describe("output of hosts and engines can't control the terminal", () => {
  test('in a table, in fields or in an error', () => {
    fc.assert(
      fc.property(hostileText, (text) => {
        expect(formatTable(['A', 'B'], [[text, 'b']])).not.toMatch(CONTROL_CHARACTERS);
        expect(formatTable(['A', 'B'], [[text, 'b']]).split('\n')).toHaveLength(2);
        expect(formatFields([['A', text]])).not.toMatch(/\n/);
        expect(formatFields([['A', text]])).not.toMatch(CONTROL_CHARACTERS);
        const error = new SlipwayError('USAGE', 'No', { hint: `Try ${text}`, detail: [text] });
        expect(formatError(error, false)).not.toMatch(CONTROL_CHARACTERS);
      }),
    );
    expect(formatTable(['A'], [[{ toString: () => 'x' } as never]])).toBe('A\nx');
    const two = new SlipwayError('USAGE', 'No', { hint: 'this\nor that' });
    expect(formatError(two, false)).toBe('✗ No\n→ this\nor that');
  });

  test('in a plan', () => {
    const files = [{ path: `/etc/${HOSTILE_TEXT}`, content: '', mode: '644' }];
    const step = {
      id: 'x',
      title: `Install for ${HOSTILE_TEXT}`,
      template: 'x.sh',
      variables: { CODENAME: HOSTILE_TEXT },
      files,
    };
    const { text } = planResult('web', [step]);
    expect(text).not.toMatch(CONTROL_CHARACTERS);
    expect(text).toBe('web: steps on the host\n1. Install for evil\n     write /etc/evil\n     codename: evil');
  });

  test("in a step's title in plain output", async () => {
    const lines: string[] = [];
    const progress = createProgress(createPlainView((line) => lines.push(line)));
    await progress.step('x', `Upgrade to ${HOSTILE_TEXT}`, async () => {});
    expect(lines.join('\n')).not.toMatch(CONTROL_CHARACTERS);
    expect(lines[0]).toBe('Upgrade to evil …');
  });
});

/** Starts a server that answers in the place of an engine, with a host that accepts any login. */
async function startImpostor(version: unknown, counts: unknown) {
  const home = await createTemporaryFolder();
  const server = createServer((_request, response) => {
    const [Containers, ContainersRunning, ContainersPaused, ContainersStopped, Images] = Array.from(
      { length: 5 },
      () => counts,
    );
    response.end(
      JSON.stringify({ Version: version, Containers, ContainersRunning, ContainersPaused, ContainersStopped, Images }),
    );
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const vitals = `disk 4 2 /${HOSTILE_TEXT}\nmemory_total 8\nmemory_free 6\nload 0.10 0.20 0.30\ncpus 2\nuptime 7200\n`;
  const world = worldIn(home.path, { connect: async () => fakeSession({ 'vitals.sh': { stdout: vitals } }) });
  const failure = { at: '2026-11-24T10:00:00Z', step: 'verify', code: 'REMOTE_COMMAND', message: HOSTILE_TEXT };
  const endpoint = { url: `tcp://127.0.0.1:${port}`, tls: false };
  await world.store.write(readyMachine('web', { endpoint, failure, spec: specNamed('web') }));
  const screen = { write: () => {}, size: () => undefined, json: false };
  return {
    cli: { world, screen, say: () => {}, color: false } as unknown as Cli,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await home[Symbol.asyncDispose]();
    },
  };
}

describe('an impostor that answers in the place of an engine', () => {
  const lsArgs = { quiet: false, filter: [], timeout: 5, watch: false, interval: 2 };

  test('is listed and shown with sanitized text, and with counts that are numbers', async () => {
    await using all = await startImpostor(HOSTILE_TEXT, HOSTILE_TEXT);
    const listed = await ls.run({ positionals: [], args: lsArgs, flags: {} }, all.cli);
    expect(listed.text).not.toMatch(CONTROL_CHARACTERS);
    expect(listed.text).toMatch(/^web .* running .* evil .*interrupted at "verify": evil$/m);
    const shown = await status.run({ positionals: ['web'], args: { timeout: 5 }, flags: {} }, all.cli);
    expect(shown.text).not.toMatch(CONTROL_CHARACTERS);
    expect(shown.text).toMatch(/^Engine +evil$/m);
    expect(shown.text).toMatch(/^Containers +\? running, \? not running; \? images$/m);
    expect(shown.text).toMatch(/^Disk .*\(\/evil\)$/m);
    expect(shown.json).toMatchObject({ containers: { running: NaN, total: NaN }, images: NaN });
  });

  test('does not break the list by sending an object as its version', async () => {
    await using all = await startImpostor({ a: 1 }, 3);
    const listed = await ls.run({ positionals: [], args: lsArgs, flags: {} }, all.cli);
    expect(listed.text).toMatch(/^web .* running /m);
    const shown = await status.run({ positionals: ['web'], args: { timeout: 5 }, flags: {} }, all.cli);
    expect(shown.text).toMatch(/^Containers +3 running, 0 not running; 3 images$/m);
  });
});
