import { access, constants, readFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Computer } from '../../computer/computer.ts';
import { fileReasonOf } from '../../computer/files.ts';
import { SlipwayError } from '../../errors.ts';
import type { FirstBootConfig } from '../contract.ts';

type FirstBootKeys = Pick<FirstBootConfig, 'hostKey' | 'authorizedKey'>;
/** What the machine of a cloud gets with its user data. Others can read it, so `files` contains no secret. */
export type PublicFirstBoot = FirstBootKeys & Partial<Pick<FirstBootConfig, 'files' | 'commands'>>;
type MimePart = { readonly headers: readonly string[]; readonly body: string };

/** How much user data a cloud accepts, and the flag for it. */
export type UserDataLimit = {
  readonly provider: string;
  /** Bytes before any encoding. */
  readonly maxBytes: number;
  /** The flag that names the user's file. */
  readonly flag: string;
};

/**
 * Finds a `users` list in the user's cloud-config. Such a list replaces the image's own user, as whom Slipway logs in,
 * unless it names that user too.
 */
const USERS_SECTION = /^\s*"?users"?\s*:/m;
const MIME_BOUNDARY = '=====slipway=====';
const DEFAULT_USER_SECTION = 'users:\n  - default\n';

/**
 * Builds the user data that cloud-init reads at the first boot: the user's part, followed by Slipway's keys and timers.
 * Later parts win, so nothing in the user's part can replace the bootstrap host key, neither an include nor merge rules
 * of its own. Lists are appended, so that the user's own keys can log in as well; but Slipway's commands run before the
 * user's, which may fail. Throws USAGE if the result is larger than the provider accepts.
 */
export function buildCloudInitUserData(
  boot: PublicFirstBoot,
  userPart: string | undefined,
  limit: UserDataLimit,
): string {
  const files = formatWriteFiles(boot);
  const commands = formatRunCommands(boot);
  if (userPart === undefined || userPart.trim() === '')
    return `#cloud-config\n${formatHostKeys(boot)}${formatAuthorizedKeys(boot)}${files}${commands}`;
  const text = [
    'MIME-Version: 1.0',
    `Content-Type: multipart/mixed; boundary="${MIME_BOUNDARY}"`,
    '',
    ...formatMimePart(toMimePart(userPart, limit.flag)),
    ...formatMimePart(cloudConfigPart(formatHostKeys(boot), 'dict(replace)+list()+str()')),
    // cloud-init merges the lists of a mapping only if it does not replace the mapping.
    ...formatMimePart(
      cloudConfigPart(
        formatAuthorizedKeys(boot) + files + (USERS_SECTION.test(userPart) ? DEFAULT_USER_SECTION : ''),
        'list(append)+dict(no_replace,recurse_list)+str()',
      ),
    ),
    ...(commands === ''
      ? []
      : formatMimePart(cloudConfigPart(commands, 'list(prepend)+dict(no_replace,recurse_list)+str()'))),
    `--${MIME_BOUNDARY}--`,
    '',
  ].join('\n');
  const bytes = Buffer.byteLength(text);
  if (bytes <= limit.maxBytes) return text;
  throw new SlipwayError(
    'USAGE',
    `The user data is ${bytes} bytes together with Slipway's own, and ${limit.provider} accepts at most ${limit.maxBytes}`,
    { hint: `Use a short script that downloads the rest: ${limit.flag}` },
  );
}

function formatMimePart({ headers, body }: MimePart): readonly string[] {
  return [`--${MIME_BOUNDARY}`, ...headers, '', body];
}

function cloudConfigPart(text: string, merge: string): MimePart {
  return {
    headers: ['Content-Type: text/cloud-config; charset="utf-8"', `Merge-Type: ${merge}`],
    body: `#cloud-config\n${text}`,
  };
}

/** Writes the bootstrap host key, which the first connection replaces. */
function formatHostKeys({ hostKey }: FirstBootKeys): string {
  return [
    'ssh_deletekeys: true',
    'ssh_keys:',
    '  ed25519_private: |',
    ...hostKey.private
      .trimEnd()
      .split('\n')
      .map((line) => `    ${line}`),
    `  ed25519_public: ${JSON.stringify(hostKey.public)}`,
    '',
  ].join('\n');
}

function formatAuthorizedKeys({ authorizedKey }: FirstBootKeys): string {
  return `ssh_authorized_keys:\n  - ${JSON.stringify(authorizedKey.trim())}\n`;
}

/** Writes files in YAML; JSON strings are YAML too. Compressed, because a provider limits the size. */
function formatWriteFiles({ files = [] }: PublicFirstBoot): string {
  if (files.length === 0) return '';
  const entries = files.map(({ path, mode, content }) => {
    const encoded = gzipSync(content, { level: 9 }).toString('base64');
    return `  - path: ${path}\n    permissions: '0${mode}'\n    owner: root:root\n    encoding: gz+b64\n    content: ${encoded}\n`;
  });
  return `write_files:\n${entries.join('')}`;
}

function formatRunCommands({ commands = [] }: PublicFirstBoot): string {
  if (commands.length === 0) return '';
  return `runcmd:\n${commands.map((command) => `  - ${JSON.stringify(command)}\n`).join('')}`;
}

const CONTENT_TYPES: readonly (readonly [RegExp, string])[] = [
  [/^#cloud-config-archive/, 'text/cloud-config-archive'],
  [/^#cloud-config-jsonp/, 'text/cloud-config-jsonp'],
  [/^#cloud-config/, 'text/cloud-config'],
  [/^#!/, 'text/x-shellscript'],
  [/^#include-once/, 'text/x-include-once-url'],
  [/^#include/, 'text/x-include-url'],
  [/^#cloud-boothook/, 'text/cloud-boothook'],
  [/^#part-handler/, 'text/part-handler'],
  [/^## template: *jinja/, 'text/jinja2'],
];

/** Converts the user's text to a part of the archive, with its own MIME headers or a type that its first line shows. */
function toMimePart(userPart: string, flag: string): MimePart {
  const text = userPart.replaceAll('\r\n', '\n');
  if (/^(content-type|mime-version):/i.test(text)) {
    const end = text.indexOf('\n\n');
    if (end > 0) {
      const headers = text.slice(0, end).split('\n');
      return { headers: headers.filter((line) => !/^mime-version:/i.test(line)), body: text.slice(end + 2) };
    }
  }
  const type = CONTENT_TYPES.find(([firstLine]) => firstLine.test(text))?.[1];
  if (type !== undefined) return { headers: [`Content-Type: ${type}; charset="utf-8"`], body: text };
  throw new SlipwayError('USAGE', 'cloud-init does not know the format of your user data', {
    hint: `The file must begin with #cloud-config or #!/bin/sh, and must not be compressed: ${flag}`,
  });
}

/**
 * Builds the startup script of a cloud whose images run no cloud-init: the template, after lines that set HOST_KEY,
 * HOST_KEY_PUBLIC, FIRST_BOOT (a script that writes the files and runs the commands of the first boot; may be empty)
 * and USER_SCRIPT (may be empty). The values are base64, so that the shell interprets none of the user's text.
 */
export async function buildStartupScript(
  template: string,
  { hostKey, files = [], commands = [] }: PublicFirstBoot,
  userScript: string | undefined,
  { templates }: Pick<Computer, 'templates'>,
): Promise<string> {
  const script = await readFile(join(templates, 'cloud', template), 'utf8');
  const toBase64 = (text: string): string => Buffer.from(text).toString('base64');
  return [
    '#!/bin/sh',
    `HOST_KEY=${toBase64(hostKey.private)}`,
    `HOST_KEY_PUBLIC=${toBase64(`${hostKey.public}\n`)}`,
    `FIRST_BOOT=${files.length === 0 ? '' : toBase64(formatFirstBootScript(files, commands))}`,
    `USER_SCRIPT=${userScript === undefined ? '' : toBase64(userScript)}`,
    script,
  ].join('\n');
}

/** Returns a shell script that writes the files, each whole, and then runs the commands. */
function formatFirstBootScript(files: FirstBootConfig['files'], commands: readonly string[]): string {
  const lines = files.flatMap(({ path, mode, content }) => [
    `mkdir -p ${posix.dirname(path)}`,
    `printf '%s' ${Buffer.from(content).toString('base64')} | base64 -d >${path}.slipway-new`,
    `chmod ${mode} ${path}.slipway-new`,
    `mv -f ${path}.slipway-new ${path}`,
  ]);
  return ['set -eu', 'umask 022', ...lines, 'sync', ...commands, ''].join('\n');
}

/** Throws USAGE, before anything exists or costs money, if a file that an option names can't be read. */
export async function requireReadableFile(file: string | undefined, flag: string): Promise<void> {
  if (file === undefined) return;
  await access(file, constants.R_OK).catch((error: unknown) => {
    throw unreadableFileError(file, flag, error);
  });
}

/**
 * Returns the text of a file that an option names, without a byte order mark. Throws USAGE if it can't be read, and for
 * other text than UTF-8, which would reach the instance changed.
 */
export async function readUserScript(file: string, flag: string): Promise<string> {
  const bytes = await readFile(file).catch((error: unknown) => {
    throw unreadableFileError(file, flag, error);
  });
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    const isCompressed = bytes[0] === 0x1f && bytes[1] === 0x8b;
    throw new SlipwayError('USAGE', `${file} is not UTF-8 text`, {
      hint: isCompressed
        ? 'It is compressed. Decompress it first, since Slipway combines it with a part of its own'
        : `Convert it, for example from Latin-1: iconv -f LATIN1 -t UTF-8. Then pass it with ${flag}`,
      cause: error,
    });
  }
}

function unreadableFileError(file: string, flag: string, cause: unknown): SlipwayError {
  return new SlipwayError('USAGE', `${file} can't be read: ${fileReasonOf(cause)}`, { hint: `Check ${flag}`, cause });
}
