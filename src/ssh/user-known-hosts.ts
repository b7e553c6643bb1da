/**
 * What the user's and the system's OpenSSH files say about a host's key. Slipway reads them itself, so that the answer
 * does not depend on an installed ssh-keygen.
 */
import { readdir } from 'node:fs/promises';
import { homedir, hostname, platform, userInfo } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import { ignoreMissing, readTextFile } from '../computer/files.ts';
import { systemCode } from '../errors.ts';
import type { SshHop } from '../machine/model.ts';
import { knownHostsName } from './host-key.ts';
import { isEntryOf, isMatchingPattern, isMatchingPatternList, parseKnownHosts, parsePublicKey } from './known-hosts.ts';

export type KnownKeys = {
  /** The host's keys, as `type base64`. */
  readonly known: readonly string[];
  /** Keys that must never be accepted for this host. */
  readonly revoked: readonly string[];
  /** What these files say about the host that Slipway can't check, each as a sentence without its period. */
  readonly unverifiable: readonly string[];
};

/** Where a system's OpenSSH has its files. */
export type OpenSshFolders = { readonly user: string; readonly system: string };

/** Returns the keys of this hop in the known_hosts files that ssh would read. */
export async function findKnownKeys(
  hop: SshHop,
  userHome: string,
  folders: OpenSshFolders = openSshFolders(userHome),
): Promise<KnownKeys> {
  const settings = await readHostKeySettings(hop, userHome, folders);
  const name = settings.alias ?? knownHostsName(hop);
  // A key that is revoked for a host is revoked for each of its ports.
  const revokedNames = [name, hop.address];
  const known: string[] = [];
  const revoked: string[] = [];
  const unverifiable = [...settings.unverifiable];
  for (const file of settings.files) {
    const text = await readIfReadable(file, unverifiable);
    for (const entry of parseKnownHosts(text)) {
      if (entry.marker === '@revoked' && revokedNames.some((each) => isEntryOf(entry, each))) revoked.push(entry.key);
      if (entry.marker === '@revoked' || !isEntryOf(entry, name)) continue;
      if (entry.marker === undefined) known.push(entry.key);
      else
        unverifiable.push(`${file} trusts a certificate authority for ${name}, and Slipway can't verify certificates`);
    }
  }
  for (const file of settings.revokedFiles) revoked.push(...(await readRevokedKeys(file, unverifiable)));
  return { known, revoked, unverifiable: [...new Set(unverifiable)] };
}

function openSshFolders(userHome: string): OpenSshFolders {
  return {
    user: join(userHome, '.ssh'),
    system: platform() === 'win32' ? String.raw`C:\ProgramData\ssh` : '/etc/ssh',
  };
}

/** Returns the text of a file; '' if it is missing. What can't be read is added to `unverifiable`. */
async function readIfReadable(file: string, unverifiable: string[]): Promise<string> {
  try {
    return (await ignoreMissing(readTextFile(file))) ?? '';
  } catch (error) {
    unverifiable.push(`${file} can't be read (${systemCode(error) ?? String(error)})`);
    return '';
  }
}

async function readRevokedKeys(file: string, unverifiable: string[]): Promise<readonly string[]> {
  const text = await readIfReadable(file, unverifiable);
  if (text.startsWith('SSHKRL')) {
    unverifiable.push(`${file} is a binary list of revoked keys, which Slipway can't read`);
    return [];
  }
  return text.split('\n').flatMap((line) => parsePublicKey(line) ?? []);
}

// --- the settings of ssh_config --------------------------------------------------------------------------------------

type HostKeySettings = {
  /** HostKeyAlias: the name in known_hosts files. */
  readonly alias: string | undefined;
  readonly files: readonly string[];
  readonly revokedFiles: readonly string[];
  readonly unverifiable: readonly string[];
};

/** The first value of each keyword that applies to a host, and all values that may apply. */
type Collected = { readonly first: Map<string, readonly string[]>; readonly possible: Map<string, string[]> };

const KEYWORDS = new Set([
  'userknownhostsfile',
  'globalknownhostsfile',
  'hostkeyalias',
  'revokedhostkeys',
  'knownhostscommand',
]);
const MAX_INCLUDE_DEPTH = 16;

async function readHostKeySettings(hop: SshHop, userHome: string, folders: OpenSshFolders): Promise<HostKeySettings> {
  const collected: Collected = { first: new Map(), possible: new Map() };
  const unverifiable: string[] = [];
  const context = { hop, userHome, unverifiable, collected };
  for (const [folder, name] of [
    [folders.user, 'config'],
    [folders.system, 'ssh_config'],
  ] as const)
    await readConfig(join(folder, name), { ...context, folder, depth: 0, applies: 'yes' });
  const valuesOf = (keyword: string): readonly string[] | undefined => {
    const possible = collected.possible.get(keyword);
    const first = collected.first.get(keyword);
    return first || possible ? [...(first ?? []), ...(possible ?? [])] : undefined;
  };
  const alias = valuesOf('hostkeyalias')?.[0];
  const pathsOf = (keyword: string, fallback: readonly string[]): readonly string[] => {
    const words = valuesOf(keyword)?.filter((word) => word !== 'none');
    const paths = words?.flatMap((word) => expandPath(word, alias, context) ?? []) ?? fallback;
    // Where only ssh could tell whether a setting applies, both count.
    return collected.first.has(keyword) ? paths : [...new Set([...paths, ...fallback])];
  };
  if (valuesOf('knownhostscommand')?.some((word) => word !== 'none') === true)
    unverifiable.push('Your ssh configuration asks a KnownHostsCommand for host keys, which Slipway does not run');
  const inFolder = (folder: string, ...names: readonly string[]): readonly string[] =>
    names.map((name) => join(folder, name));
  return {
    alias,
    files: [
      ...pathsOf('userknownhostsfile', inFolder(folders.user, 'known_hosts', 'known_hosts2')),
      ...pathsOf('globalknownhostsfile', inFolder(folders.system, 'ssh_known_hosts', 'ssh_known_hosts2')),
    ],
    revokedFiles: pathsOf('revokedhostkeys', []),
    unverifiable,
  };
}

/** Whether a block of a configuration applies to a host. `perhaps`: only ssh itself could tell. */
type Applies = 'yes' | 'no' | 'perhaps';

type ConfigContext = {
  readonly hop: SshHop;
  readonly userHome: string;
  readonly unverifiable: string[];
  readonly collected: Collected;
  /** The folder of relative paths in Include. */
  readonly folder: string;
  readonly depth: number;
  readonly applies: Applies;
};

async function readConfig(file: string, context: ConfigContext): Promise<void> {
  const { hop, collected, depth } = context;
  let { applies } = context;
  for (const line of (await readIfReadable(file, context.unverifiable)).split('\n')) {
    const [keyword = '', ...words] = parseConfigLine(line);
    if (keyword === 'host') applies = both(context.applies, isMatchingPatternList(words, hop.address) ? 'yes' : 'no');
    else if (keyword === 'match') applies = both(context.applies, judgeMatch(words, hop));
    else if (applies === 'no') continue;
    else if (keyword === 'include' && depth < MAX_INCLUDE_DEPTH)
      for (const pattern of words)
        for (const included of await expandInclude(pattern, context))
          await readConfig(included, { ...context, depth: depth + 1, applies });
    else if (KEYWORDS.has(keyword)) {
      if (applies === 'perhaps')
        collected.possible.set(keyword, [...(collected.possible.get(keyword) ?? []), ...words]);
      else if (!collected.first.has(keyword)) collected.first.set(keyword, words);
    }
  }
}

function both(outer: Applies, inner: Applies): Applies {
  if (outer === 'no' || inner === 'no') return 'no';
  return outer === 'perhaps' || inner === 'perhaps' ? 'perhaps' : 'yes';
}

/** Judges the criteria of a Match line. Those that run programs or depend on a state of ssh are `perhaps`. */
function judgeMatch(words: readonly string[], { address, user }: SshHop): Applies {
  let applies: Applies = 'yes';
  for (let index = 0; index < words.length; index += 1) {
    const criterion = (words[index] ?? '').toLowerCase();
    if (criterion === 'all') continue;
    const subject = { host: address, originalhost: address, user }[criterion];
    if (subject === undefined) return both(applies, 'perhaps');
    index += 1;
    applies = both(applies, isMatchingPatternList((words[index] ?? '').split(','), subject) ? 'yes' : 'no');
  }
  return applies;
}

/** Returns the keyword in lower case, and its arguments; nothing for a comment. */
function parseConfigLine(line: string): readonly string[] {
  const [, keyword, rest = ''] = /^\s*([A-Za-z]\w*)(?:\s*=\s*|\s+|$)(.*)$/.exec(line) ?? [];
  if (keyword === undefined) return [];
  const words: string[] = [];
  for (const [word, quoted] of rest.matchAll(/"([^"]*)"|\S+/g)) {
    if (word.startsWith('#')) break;
    words.push(quoted ?? word);
  }
  return [keyword.toLowerCase(), ...words];
}

async function expandInclude(pattern: string, { userHome, folder }: ConfigContext): Promise<readonly string[]> {
  const path = pattern.replace(/^~(?=[/\\])/, userHome);
  return await expandGlob(isAbsolute(path) ? path : join(folder, path));
}

async function expandGlob(path: string): Promise<readonly string[]> {
  if (!/[*?]/.test(path)) return [path];
  const parents = await expandGlob(dirname(path));
  const pattern = path.slice(dirname(path).length + 1);
  const found = await Promise.all(
    parents.map(async (parent) =>
      ((await ignoreMissing(readdir(parent))) ?? [])
        .filter((name) => !name.startsWith('.') && isMatchingPattern(pattern, name))
        .toSorted()
        .map((name) => join(parent, name)),
    ),
  );
  return found.flat();
}

/** Returns the path of a setting, without its `~` and tokens; undefined for one that only ssh can resolve. */
function expandPath(
  word: string,
  alias: string | undefined,
  { hop, userHome, unverifiable }: Pick<ConfigContext, 'hop' | 'userHome' | 'unverifiable'>,
): string | undefined {
  const { uid, username } = readUser();
  const tokens: Readonly<Record<string, string>> = {
    '%': '%',
    d: userHome,
    h: hop.address,
    n: hop.address,
    k: alias ?? hop.address,
    p: String(hop.port),
    r: hop.user,
    u: username,
    i: String(uid),
    l: hostname(),
    L: hostname().split('.')[0] ?? '',
  };
  const path = word
    .replace(/^~(?=[/\\])/, userHome)
    .replaceAll(/%(.)/g, (token, letter: string) => tokens[letter] ?? token);
  if (!/%[^%]|\$\{/.test(word.replaceAll(/%[%dhnkpruilL]/g, '')))
    return isAbsolute(path) ? path : join(homedir(), path);
  unverifiable.push(`Only ssh knows which file its configuration means by ${word}`);
  return undefined;
}

function readUser(): { readonly uid: number; readonly username: string } {
  try {
    return userInfo();
  } catch {
    // A user id without an entry in the system's files, as in containers.
    return { uid: -1, username: '' };
  }
}
