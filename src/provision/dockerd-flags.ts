/** A line of a file on the host, for messages. */
export type FilePlace = { readonly path: string; readonly line: number };

/** A flag on a command line of dockerd, by its long name. It takes the words from index `start` to before `end`. */
export type DockerdFlag = {
  readonly name: string;
  readonly value: string | undefined;
  readonly start: number;
  readonly end: number;
};

const SHORTHANDS: Readonly<Record<string, string>> = {
  b: 'bridge',
  D: 'debug',
  g: 'graph',
  G: 'group',
  h: 'help',
  H: 'host',
  l: 'log-level',
  p: 'pidfile',
  s: 'storage-driver',
  v: 'version',
};
/** The flags without a value of their own: a value can only follow `=`. */
const SWITCHES: ReadonlySet<string> = new Set([
  'allow-direct-routing',
  'cri-containerd',
  'debug',
  'experimental',
  'help',
  'icc',
  'init',
  'ip-forward',
  'ip-forward-no-drop',
  'ip-masq',
  'ip6tables',
  'iptables',
  'ipv6',
  'live-restore',
  'no-new-privileges',
  'raw-logs',
  'rootless',
  'selinux-enabled',
  'tls',
  'tlsverify',
  'userland-proxy',
  'validate',
  'version',
]);
const TLS_FLAGS: ReadonlySet<string> = new Set(['tls', 'tlsverify', 'tlscacert', 'tlscert', 'tlskey']);

/** Returns whether a flag is about the engine's sockets or their TLS, which Slipway sets in daemon.json. */
export function isListeningFlag(name: string): boolean {
  return name === 'host' || TLS_FLAGS.has(name);
}

/**
 * Separates switches that are written in one word, so that each flag has words of its own: `-DH` means `-D -H`, and
 * `-Dldebug` means `-D -ldebug`. Other words stay as they are.
 */
export function separateShorthands(word: string): readonly string[] {
  const [, letter = '', rest = ''] = /^-([A-Za-z])([^=].*)$/s.exec(word) ?? [];
  if (!SWITCHES.has(SHORTHANDS[letter] ?? '')) return [word];
  return [`-${letter}`, ...separateShorthands(`-${rest}`)];
}

/** Finds the flags among the words of a command line, as dockerd does. Expects the words of `separateShorthands`. */
export function findDockerdFlags(words: readonly string[]): readonly DockerdFlag[] {
  const flags: DockerdFlag[] = [];
  for (let start = 0; start < words.length;) {
    const { name, inline } = splitFlag(words[start] ?? '');
    if (name === '') {
      // Old engines were started as `docker daemon`.
      start += 1;
      continue;
    }
    const next = words[start + 1];
    // A switch that this list does not know must not hide the flag after it.
    const takesNext = inline === undefined && !SWITCHES.has(name) && next !== undefined && !next.startsWith('-');
    const end = start + (takesNext ? 2 : 1);
    flags.push({ name, value: takesNext ? next : inline, start, end });
    start = end;
  }
  return flags;
}

/** Returns a flag's long name, and the value in the same word. The name is '' for a word that is no flag. */
function splitFlag(word: string): { readonly name: string; readonly inline: string | undefined } {
  const [, long = '', value] = /^--([^=]+)(?:=(.*))?$/s.exec(word) ?? [];
  if (long !== '') return { name: long, inline: value };
  // `-Hfd://`, `-H=fd://`, `-D`, and the single dash of old engines: `-tlsverify`.
  const [, letter = '', rest = ''] = /^-([A-Za-z])(.*)$/s.exec(word) ?? [];
  if (letter === '') return { name: '', inline: undefined };
  const [, old = '', oldValue] = /^([a-z][a-z-]+)(?:=(.*))?$/s.exec(letter + rest) ?? [];
  if (old !== '' && SHORTHANDS[letter] === undefined) return { name: old, inline: oldValue };
  const name = SHORTHANDS[letter] ?? letter;
  return { name, inline: rest === '' ? undefined : rest.replace(/^=/, '') };
}

/** Formats a flag as `label=a=b`, or `debug` if it has no value. */
export function formatFlag({ name, value }: Pick<DockerdFlag, 'name' | 'value'>): string {
  return value === undefined ? name : `${name}=${value}`;
}
