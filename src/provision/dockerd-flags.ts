import type { EngineCommand } from './init/service-manager.ts';

const TLS_FLAGS: ReadonlySet<string> = new Set(['tls', 'tlsverify', 'tlscacert', 'tlscert', 'tlskey']);
/** The TLS flags without a value. */
const TLS_SWITCHES: ReadonlySet<string> = new Set(['tls', 'tlsverify']);

/** Returns the flags in a command line, each with its value (`label=a=b`), except for those about sockets and TLS. */
export function parseDockerdFlags(words: readonly string[]): readonly string[] {
  const flags: string[] = [];
  for (let index = 0; index < words.length; index += 1) {
    const [, name = '', inline] = /^--?([^=]+)(?:=(.*))?$/s.exec(words[index] ?? '') ?? [];
    // Old engines were started as `docker daemon`.
    if (name === '') continue;
    const next = words[index + 1];
    const takesNext = inline === undefined && !TLS_SWITCHES.has(name) && next !== undefined && !next.startsWith('-');
    if (takesNext) index += 1;
    if (name === 'H' || name === 'host' || TLS_FLAGS.has(name)) continue;
    const value = takesNext ? next : inline;
    flags.push(value === undefined ? name : `${name}=${value}`);
  }
  return flags;
}

/** Separates the sockets on dockerd's command line (`-H`) from the rest of it. */
export function splitSockets(commandLine: string): EngineCommand {
  const sockets: string[] = [];
  const rest: string[] = [];
  const words = commandLine.split(/\s+/);
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] ?? '';
    const inline = /^(?:-H=?|--host=)(.+)$/.exec(word)?.[1];
    if (word === '-H' || word === '--host') sockets.push(words[(index += 1)] ?? '');
    else if (inline !== undefined) sockets.push(inline);
    else rest.push(word);
  }
  return { line: rest.join(' '), sockets };
}
