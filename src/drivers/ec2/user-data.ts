import { access, constants, readFile } from 'node:fs/promises';
import { SlipwayError } from '../../errors.ts';
import type { FirstBootConfig } from '../contract.ts';
import type { Ec2Options } from './options.ts';

/** AWS takes no more, before base64. */
export const MAX_USER_DATA_BYTES = 16 * 1024;

/** Users of one's own leave out the image's user, whom we log in as, unless he is named too. */
const USERS_SECTION = /^\s*"?users"?\s*:/m;
const MIME_BOUNDARY = '=====slipway=====';
const DEFAULT_USER_SECTION = 'users:\n  - default\n';

/**
 * What cloud-init reads at the first boot: what the user gave, and after it our keys. Later parts win, so nothing of the user's
 * takes the place of our host key: neither an include nor a part that says by itself how it is to be merged. Lists grow: the
 * user's own keys may log in as well.
 */
export function buildUserData(boot: FirstBootKeys, theirs: string | undefined): string {
  if (theirs === undefined || theirs.trim() === '')
    return `#cloud-config\n${formatHostKeys(boot)}${formatAuthorizedKeys(boot)}`;
  const text = [
    'MIME-Version: 1.0',
    `Content-Type: multipart/mixed; boundary="${MIME_BOUNDARY}"`,
    '',
    ...formatMimePart(toMimePart(theirs)),
    ...formatMimePart(cloudConfigPart(formatHostKeys(boot), 'dict(replace)+list()+str()')),
    // A mapping that is not replaced hands its lists on to be merged.
    ...formatMimePart(
      cloudConfigPart(
        formatAuthorizedKeys(boot) + (USERS_SECTION.test(theirs) ? DEFAULT_USER_SECTION : ''),
        'list(append)+dict(no_replace,recurse_list)+str()',
      ),
    ),
    `--${MIME_BOUNDARY}--`,
    '',
  ].join('\n');
  if (Buffer.byteLength(text) <= MAX_USER_DATA_BYTES) return text;
  throw new SlipwayError(
    'USAGE',
    `The user data are ${Buffer.byteLength(text)} bytes with ours, and EC2 takes ${MAX_USER_DATA_BYTES} at most`,
    { hint: 'Let a short script fetch the rest: --ec2-user-data' },
  );
}

type FirstBootKeys = Pick<FirstBootConfig, 'hostKey' | 'authorizedKey'>;
type MimePart = { readonly headers: readonly string[]; readonly body: string };

function formatMimePart({ headers, body }: MimePart): readonly string[] {
  return [`--${MIME_BOUNDARY}`, ...headers, '', body];
}

function cloudConfigPart(text: string, merge: string): MimePart {
  return {
    headers: ['Content-Type: text/cloud-config; charset="utf-8"', `Merge-Type: ${merge}`],
    body: `#cloud-config\n${text}`,
  };
}

/** Of the first visit, which replaces it. */
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

/** The user's text as a part of the archive: its own MIME headers where it has some, else those of what it begins with. */
function toMimePart(theirs: string): MimePart {
  const text = theirs.replaceAll('\r\n', '\n');
  if (/^(content-type|mime-version):/i.test(text)) {
    const end = text.indexOf('\n\n');
    if (end > 0) {
      const headers = text.slice(0, end).split('\n');
      return { headers: headers.filter((line) => !/^mime-version:/i.test(line)), body: text.slice(end + 2) };
    }
  }
  const type = CONTENT_TYPES.find(([begins]) => begins.test(text))?.[1];
  if (type !== undefined) return { headers: [`Content-Type: ${type}; charset="utf-8"`], body: text };
  throw new SlipwayError('USAGE', 'The user data begin with nothing that cloud-init knows', {
    hint: 'Let the file begin with #cloud-config or #!/bin/sh, plain and not packed: --ec2-user-data',
  });
}

/** The user's own part. */
export async function readUserData({ userData: file }: Ec2Options): Promise<string | undefined> {
  if (file === undefined) return undefined;
  await requireReadableFile(file, '--ec2-user-data');
  return await readFile(file, 'utf8');
}

export async function requireReadableFile(file: string | undefined, flag: string): Promise<void> {
  if (file === undefined) return;
  await access(file, constants.R_OK).catch((error: unknown) => {
    throw new SlipwayError('USAGE', `${file} can't be read`, { hint: `Check ${flag}`, cause: error });
  });
}
