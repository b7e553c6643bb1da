import { spawn } from 'node:child_process';
import { z } from 'zod';
import { writeWhole } from '../../changes.ts';
import { SlipwayError, systemCode } from '../../errors.ts';
import { knownHostsLine } from '../../host-key.ts';
import type { SshTarget } from '../../machine.ts';
import { contextName } from '../../provision/profiles/docker-context.ts';
import { defineCommand, type Command } from '../command.ts';
import { hostOf } from './ready.ts';

const args = z.object({});

export const ssh: Command<typeof args> = defineCommand({
  name: 'ssh',
  summary: 'Open a shell on a machine, or run a command; its exit status is passed on',
  words: '<name> [command...]',
  args,
  details:
    'Uses your own ssh with the pinned host key. What follows the name goes to ssh as it is: slipway ssh web -- -L 8080:localhost:80',
  passThrough: true,
  async run({ words: [name = '', ...rest] }, { world }) {
    const command = rest[0] === '--' ? rest.slice(1) : rest;
    const { ssh: target } = await hostOf(name, world.store);
    if (!target) {
      throw new SlipwayError('DRIVER_UNSUPPORTED', `"${name}" has no SSH: Slipway knows it by its engine’s URL only`, {
        hint: `docker --context ${contextName(name)} … works`,
      });
    }
    const { knownHosts } = world.store.paths(name);
    await writeWhole(knownHosts, knownHostsLine(target) + (target.jump ? knownHostsLine(target.jump) : ''), 0o600);
    const status = await attached('ssh', sshArgv(target, knownHosts, command), world.signal);
    return { json: { name, status }, text: '', status };
  },
});

/** ssh reads no host key but ours, and never asks. */
export function sshArgv(target: SshTarget, knownHosts: string, command: readonly string[]): readonly string[] {
  const strict = [
    '-o',
    `UserKnownHostsFile=${quoted(knownHosts)}`,
    '-o',
    'GlobalKnownHostsFile=none',
    '-o',
    'StrictHostKeyChecking=yes',
    '-o',
    'LogLevel=ERROR',
  ];
  const key = target.keyFile === undefined ? [] : ['-i', target.keyFile];
  const { jump } = target;
  // -J would read the jump host's key from the user's files; a command of our own reads ours.
  const proxy = jump
    ? [
        '-o',
        `ProxyCommand=ssh ${[...strict, ...key, '-p', String(jump.port), '-l', jump.user, '-W', '[%h]:%p', jump.address].map(shellWord).join(' ')}`,
      ]
    : [];
  const to = ['-p', String(target.port), '-l', target.user];
  // Everything before a word that is no flag belongs to ssh itself.
  const flags = command[0]?.startsWith('-') === true ? command : [];
  const remote = flags.length > 0 ? [] : command;
  return [...strict, ...key, ...proxy, ...to, ...flags, target.address, ...remote];
}

function quoted(path: string): string {
  return path.includes(' ') ? `"${path}"` : path;
}

/** ssh gives a ProxyCommand to the user's shell, after its own % expansion. */
function shellWord(word: string): string {
  const escaped = word === '[%h]:%p' ? word : word.replaceAll('%', '%%');
  return /^[\w@+=:,./-]+$/.test(escaped) ? escaped : `'${escaped.replaceAll("'", String.raw`'\''`)}'`;
}

/** Runs a program on this terminal; 128 + n for a death by signal, as shells have it. */
function attached(program: string, argv: readonly string[], signal: AbortSignal): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, argv, { stdio: 'inherit' });
    signal.addEventListener('abort', () => child.kill('SIGTERM'), { once: true });
    child.once('error', (error) => {
      if (systemCode(error) !== 'ENOENT') return reject(error);
      reject(
        new SlipwayError('DRIVER_UNSUPPORTED', `There is no ${program} program on this computer`, {
          hint: 'Install the OpenSSH client',
          cause: error,
        }),
      );
    });
    child.once('close', (code, name) => resolve(code ?? (name === 'SIGINT' ? 130 : 143)));
  });
}
