import { SlipwayError } from '../../errors.ts';
import type { Boot } from '../driver.ts';

/** AWS takes no more, before base64. */
export const MOST_BYTES = 16 * 1024;

/**
 * What cloud-init reads at the first boot: our keys, and after them what the user gave. A later part may add to lists and
 * mappings and replaces nothing, so that no part of the user's takes the place of our host key.
 */
export function userData(boot: Pick<Boot, 'hostKey' | 'authorizedKey'>, theirs: string | undefined): string {
  const ours = cloudConfig(boot);
  if (theirs === undefined || theirs.trim() === '') return ours;
  const boundary = '=====slipway=====';
  const { headers, body } = partOf(theirs);
  const text = [
    'MIME-Version: 1.0',
    `Content-Type: multipart/mixed; boundary="${boundary}"`,
    '',
    `--${boundary}`,
    'Content-Type: text/cloud-config; charset="utf-8"',
    '',
    ours,
    `--${boundary}`,
    ...headers,
    'Merge-Type: list(append)+dict(no_replace,recurse_list)+str()',
    '',
    body,
    `--${boundary}--`,
    '',
  ].join('\n');
  if (Buffer.byteLength(text) <= MOST_BYTES) return text;
  throw new SlipwayError(
    'USAGE',
    `The user data are ${Buffer.byteLength(text)} bytes with ours, and EC2 takes ${MOST_BYTES} at most`,
    { hint: 'Let a short script fetch the rest: --ec2-user-data' },
  );
}

function cloudConfig({ hostKey, authorizedKey }: Pick<Boot, 'hostKey' | 'authorizedKey'>): string {
  return [
    '#cloud-config',
    '# The host key of the first visit, which replaces it.',
    'ssh_deletekeys: true',
    'ssh_genkeytypes: []',
    'ssh_keys:',
    '  ed25519_private: |',
    ...hostKey.private
      .trimEnd()
      .split('\n')
      .map((line) => `    ${line}`),
    `  ed25519_public: ${JSON.stringify(hostKey.public)}`,
    'ssh_authorized_keys:',
    `  - ${JSON.stringify(authorizedKey.trim())}`,
    '',
  ].join('\n');
}

const TYPES: readonly (readonly [RegExp, string])[] = [
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
function partOf(theirs: string): { readonly headers: readonly string[]; readonly body: string } {
  const text = theirs.replaceAll('\r\n', '\n');
  if (/^(content-type|mime-version):/i.test(text)) {
    const end = text.indexOf('\n\n');
    if (end > 0) {
      const headers = text.slice(0, end).split('\n');
      return { headers: headers.filter((line) => !/^mime-version:/i.test(line)), body: text.slice(end + 2) };
    }
  }
  const type = TYPES.find(([begins]) => begins.test(text))?.[1];
  if (type !== undefined) return { headers: [`Content-Type: ${type}; charset="utf-8"`], body: text };
  throw new SlipwayError('USAGE', 'The user data begin with nothing that cloud-init knows', {
    hint: 'Let the file begin with #cloud-config or #!/bin/sh, plain and not packed: --ec2-user-data',
  });
}
