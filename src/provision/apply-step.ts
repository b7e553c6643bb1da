import { createTar } from 'nanotar';
import { SlipwayError } from '../errors.ts';
import type { Log } from '../progress.ts';
import { formatAssignments, sh, type Shell } from '../ssh/shell.ts';
import type { SshSession } from '../ssh/connection.ts';
import { lastLines, type Become } from './facts.ts';
import { encodeText } from './text-encoding.ts';
import { joinTemplates, type ReadTemplate, type Step } from './step.ts';

/**
 * Runs a step in one remote execution. Script, variables and files travel as one archive over stdin, which bootstrap.sh
 * unpacks on the host: none of them is visible in an argv, and nothing runs if the connection is lost before the end of
 * the archive. Returns what the script printed.
 */
export async function applyStep(
  step: Step,
  {
    session,
    template,
    become,
    sudoPassword,
    address,
    log,
  }: {
    readonly session: SshSession;
    readonly template: ReadTemplate;
    readonly become: Become;
    readonly sudoPassword: string | undefined;
    readonly address: string;
    readonly log: Log;
  },
): Promise<string> {
  const [bootstrap, script] = await Promise.all([
    template('bootstrap.sh'),
    joinTemplates(step.scripts ?? [step.template], template),
  ]);
  const archive = createTar([
    // Shell variables instead of environment variables, since the script's child processes need none of them.
    { name: 'script', data: formatAssignments(step.variables) + script },
    { name: 'files/', attrs: { mode: '700' } },
    ...step.files.flatMap((file, index) =>
      file.content === undefined
        ? []
        : [{ name: `files/${index}`, data: encodeText(file.content, file.encoding), attrs: { mode: '600' } }],
    ),
  ]);
  const password = become === 'password' ? Buffer.from(`${sudoPassword ?? ''}\n`) : Buffer.alloc(0);
  const { code, stdout, stderr } = await session.exec(rootCommand(become, bootstrap.trimEnd()), {
    label: step.template,
    stdin: Buffer.concat([password, archive, END_OF_ARCHIVE]),
    onLine: log,
  });
  if (code !== 0) throw stepFailedError(step, address, code, stdout, stderr);
  return stdout;
}

/**
 * The two zero blocks that end a tar archive. The library pads the archive to a multiple of the block size, which may
 * leave only one zero block, and tar would print a warning.
 */
const END_OF_ARCHIVE = Buffer.alloc(1024);

function rootCommand(become: Become, script: string): Shell {
  if (become === 'root') return sh`sh -c ${script}`;
  // With -k, sudo asks even if it has cached the password: it must consume the first line of stdin.
  return become === 'sudo' ? sh`sudo -n sh -c ${script}` : sh`sudo -k -S -p ${''} sh -c ${script}`;
}

/**
 * Returns the error for a failed step. The reason is the script's last line with `!!`, or else the exit status; what to
 * do next is its last line with `!>`.
 */
function stepFailedError(step: Step, address: string, code: number, stdout: string, stderr: string): SlipwayError {
  const output = `${stdout}\n${stderr}`;
  const lastWith = (mark: string): string | undefined =>
    lastLines(stderr, 200)
      .findLast((line) => line.startsWith(mark))
      ?.slice(mark.length);
  const reason = lastWith('!! ') ?? `exit status ${code}`;
  const detail = lastLines(output.replaceAll(/^![!>~] .*$/gm, ''));
  const isDiskFull = /No space left on device|Disk quota exceeded|not enough free space/i.test(output);
  return new SlipwayError(
    isDiskFull ? 'HOST_FULL' : 'REMOTE_COMMAND',
    `"${step.title}" failed on ${address}: ${isDiskFull ? 'its disk is full' : reason}`,
    {
      hint: isDiskFull
        ? 'Free disk space on the host. To continue, run the same command again'
        : (lastWith('!> ') ?? 'Fix the cause. To continue, run the same command again'),
      detail,
    },
  );
}
