import type { Shell } from '../../src/ssh/shell.ts';
import type { ExecResult, SshSession } from '../../src/ssh/connection.ts';

export type ExecCall = { readonly command: Shell; readonly label: string; readonly stdin: Buffer };
type ExecAnswer = Partial<ExecResult> | ((call: ExecCall) => Partial<ExecResult> | Promise<Partial<ExecResult>>);

/** An SSH session that answers from a table by label. An unknown label fails and lists the known ones. */
export function fakeSession(
  answers: Readonly<Record<string, ExecAnswer>>,
): SshSession & { readonly calls: readonly ExecCall[]; readonly disposed: () => boolean } {
  const calls: ExecCall[] = [];
  let disposed = false;
  return {
    hostKey: 'ssh-ed25519 AAAA',
    jumpHostKey: undefined,
    calls,
    disposed: () => disposed,
    async exec(command, { label, stdin = '', onLine }) {
      const answer = answers[label];
      if (answer === undefined) throw new Error(`no answer for "${label}"; known: ${Object.keys(answers).join(', ')}`);
      const call = { command, label, stdin: Buffer.from(stdin) };
      calls.push(call);
      const exit = { code: 0, stdout: '', stderr: '', ...(typeof answer === 'function' ? await answer(call) : answer) };
      for (const line of exit.stdout.split('\n').slice(0, -1)) onLine?.(line);
      return exit;
    },
    connectTcp: async () => await Promise.reject(new Error('this double forwards no ports')),
    startCommand: async () => await Promise.reject(new Error('this double starts no commands')),
    closed: new Promise(() => {}),
    drop: () => (disposed = true),
    async [Symbol.asyncDispose]() {
      disposed = true;
    },
  };
}
