/** What a place of the command line takes: a kind of thing, or one of these words. */
export type ValueKind =
  | 'any'
  | 'driver'
  | 'file'
  | 'folder'
  /** What a VM boots from: an image by name, or a file. */
  | 'image'
  /** One that lies here. */
  | 'kept-image'
  | 'machine'
  /** A file here, or NAME:file on a machine. */
  | 'place'
  /** NAME:folder on a machine. */
  | 'remote'
  | readonly string[];

export type CompletionOption = {
  /** With their dashes; the one that is shown first. */
  readonly names: readonly string[];
  readonly about: string;
  /** Absent where it has no value. */
  readonly takes?: ValueKind;
  /** May be given more than once. */
  readonly many?: true;
  /** Of this driver alone. */
  readonly driver?: string;
};

export type CompletionCommand = {
  /** Of one word or two. */
  readonly name: string;
  readonly about: string;
  readonly operands: readonly ValueKind[];
  /** The last operand may come again and again. */
  readonly many?: true;
  readonly options: readonly CompletionOption[];
  /** What follows the first operand is another program's command line. */
  readonly raw?: true;
};

type CompletionEntry = { readonly name: string; readonly about: string };

/** All that a program takes, as plain data: made when it is built, so that a Tab waits for no library. */
export type CompletionSpec = {
  readonly commands: readonly CompletionCommand[];
  /** First words of commands of two. */
  readonly families: readonly CompletionEntry[];
  /** Options before the command. */
  readonly globals: readonly CompletionOption[];
  readonly drivers: readonly (CompletionEntry & { readonly also: readonly string[] })[];
  /** What `help` explains besides commands and drivers. */
  readonly topics: readonly CompletionEntry[];
  /** Images that can be made by their name. */
  readonly images: readonly string[];
};

/** What is there right now, read where it is asked for. */
export type CompletionSources = { listMachines(): readonly string[]; listImages(): readonly string[] };

export type Candidate = { readonly text: string; readonly about?: string };
/** The shell's own files or folders are candidates too, where it says so. */
export type Completion = { readonly candidates: readonly Candidate[]; readonly paths?: 'files' | 'folders' };

/** What may stand where the last of the words is; those before it are whole. */
export function complete(declared: CompletionSpec, words: readonly string[], facts: CompletionSources): Completion {
  const current = words.at(-1) ?? '';
  const { candidates, ...rest } = findCandidates(declared, words.slice(0, -1), current, facts);
  return {
    ...rest,
    candidates: candidates.filter(({ text }) => text.startsWith(current) && SAFE_CANDIDATE.test(text) && text !== ''),
  };
}

/** No blank, no quote and nothing else that a shell would read when it stands on its command line. */
const SAFE_CANDIDATE = /^[\w.,:=+@/-]+$/;

/**
 * One candidate a line, its meaning behind a tab, and last what else there is, in the numbers that completion scripts
 * of many programs know: 4 for no files, 16 for folders alone, 2 for no blank behind the candidate.
 */
export function formatCompletion({ candidates, paths }: Completion): string {
  const open = candidates.some(({ text }) => /[:=]$/.test(text)) ? 2 : 0;
  const lines = candidates.map(({ text, about }) => (about ? `${text}\t${about}` : text));
  return [...lines, `:${open + { files: 0, folders: 16, none: 4 }[paths ?? 'none']}`, ''].join('\n');
}

function findCandidates(
  declared: CompletionSpec,
  before: readonly string[],
  current: string,
  facts: CompletionSources,
): Completion {
  const { globals, commands, families } = declared;
  const at = findCommandIndex(before, globals);
  const last = globals.find(({ names }) => names.includes(before.at(-1) ?? ''));
  if (at > before.length && last?.takes) return valueCandidates(last.takes, current, declared, facts);
  const [name, ...rest] = before.slice(at);
  if (name === undefined)
    return current.startsWith('-')
      ? completeOption(globals, globals, current, declared, facts)
      : commandCandidates(declared);
  // It explains what commands are named like, two words included.
  if (name === 'help') return rest.length === 0 ? topicCandidates(declared) : memberCandidates(declared, rest[0] ?? '');
  if (!families.some((family) => family.name === name))
    return completeInCommand(
      commands.find((command) => command.name === name),
      rest,
      current,
      declared,
      facts,
    );
  const second = rest.findIndex((word) => !word.startsWith('-'));
  if (second < 0) return current.startsWith('-') ? NO_CANDIDATES : memberCandidates(declared, name);
  const member = commands.find((command) => command.name === `${name} ${rest[second]}`);
  return completeInCommand(member, rest.toSpliced(second, 1), current, declared, facts);
}

const NO_CANDIDATES: Completion = { candidates: [] };

/** Where the command stands among the words, or beyond them. */
function findCommandIndex(words: readonly string[], globals: readonly CompletionOption[]): number {
  let at = 0;
  while (words[at]?.startsWith('-') === true) {
    const option = globals.find(({ names }) => names.includes(words[at] ?? ''));
    at += option?.takes === undefined ? 1 : 2;
  }
  return at;
}

function commandCandidates({ commands, families }: CompletionSpec): Completion {
  const single = commands.filter(({ name }) => !name.includes(' '));
  return { candidates: [...single, ...families].map(toCandidate) };
}

function memberCandidates({ commands }: CompletionSpec, family: string): Completion {
  const own = commands.filter(({ name }) => name.startsWith(`${family} `));
  return { candidates: own.map(({ name, about }) => ({ text: name.slice(family.length + 1), about })) };
}

function topicCandidates(declared: CompletionSpec): Completion {
  return { candidates: [...commandCandidates(declared).candidates, ...declared.topics.map(toCandidate)] };
}

function toCandidate({ name, about }: CompletionEntry): Candidate {
  return { text: name, about };
}

function completeInCommand(
  command: CompletionCommand | undefined,
  rest: readonly string[],
  current: string,
  declared: CompletionSpec,
  facts: CompletionSources,
): Completion {
  if (!command) return NO_CANDIDATES;
  const { operands, used, pending, ended } = parseWords(command, rest);
  if (pending?.takes) return valueCandidates(pending.takes, current, declared, facts);
  if (current.startsWith('-') && !ended) {
    const driver = driverFromWords(command, rest, declared);
    const offered = command.options
      .filter((option) => driver === undefined || option.driver === undefined || option.driver === driver)
      .filter((option) => option.many === true || !used.includes(option));
    return completeOption(offered, command.options, current, declared, facts);
  }
  const many = command.many === true ? command.operands.at(-1) : undefined;
  const takes = command.raw === true && operands.length > 0 ? undefined : (command.operands[operands.length] ?? many);
  if (takes === undefined) return NO_CANDIDATES;
  const { candidates, ...paths } = valueCandidates(takes, current, declared, facts);
  return { ...paths, candidates: candidates.filter(({ text }) => !operands.includes(text)) };
}

type ParsedWords = {
  readonly operands: readonly string[];
  readonly used: readonly CompletionOption[];
  /** The option whose value comes next. */
  readonly pending: CompletionOption | undefined;
  /** What comes next is no option, whatever it looks like. */
  readonly ended: boolean;
};

function parseWords({ options, raw }: CompletionCommand, words: readonly string[]): ParsedWords {
  const operands: string[] = [];
  const used: CompletionOption[] = [];
  let pending: CompletionOption | undefined;
  let ended = false;
  for (const word of words) {
    if (pending) pending = undefined;
    else if (ended || !word.startsWith('-')) {
      operands.push(word);
      ended ||= raw === true;
    } else if (word === '--') ended = true;
    else {
      const option = findOption(word, options);
      if (option) used.push(option);
      if (option?.takes !== undefined && !word.includes('=')) pending = option;
    }
  }
  return { operands, used, pending, ended };
}

function findOption(word: string, options: readonly CompletionOption[]): CompletionOption | undefined {
  const [name = ''] = word.split('=', 1);
  return options.find(({ names }) => names.includes(name));
}

/** The one that is named, or that another flag speaks of. */
function driverFromWords(
  { options }: CompletionCommand,
  words: readonly string[],
  { drivers }: CompletionSpec,
): string | undefined {
  const said = words.flatMap((word, at) => {
    if (findOption(word, options)?.takes !== 'driver') return [];
    return [word.includes('=') ? word.slice(word.indexOf('=') + 1) : (words[at + 1] ?? '')];
  });
  const name = said.at(-1);
  if (name === undefined)
    return words.map((word) => findOption(word, options)?.driver).find((driver) => driver !== undefined);
  return drivers.find((driver) => driver.name === name || driver.also.includes(name))?.name;
}

/** Names of options; behind `--name=`, what its value may be. */
function completeOption(
  offered: readonly CompletionOption[],
  all: readonly CompletionOption[],
  current: string,
  declared: CompletionSpec,
  facts: CompletionSources,
): Completion {
  const equals = current.indexOf('=');
  if (equals < 0) {
    // Of several names that mean the same, one is enough.
    const texts = offered.flatMap(({ names, about }) => {
      const text = names.find((name) => name.startsWith(current));
      return text === undefined ? [] : [{ text, about }];
    });
    return { candidates: texts };
  }
  const takes = findOption(current, all)?.takes;
  if (takes === undefined) return NO_CANDIDATES;
  const { candidates, ...paths } = valueCandidates(takes, current.slice(equals + 1), declared, facts);
  const head = current.slice(0, equals + 1);
  return { ...paths, candidates: candidates.map((candidate) => ({ ...candidate, text: `${head}${candidate.text}` })) };
}

function valueCandidates(
  takes: ValueKind,
  current: string,
  { drivers, images }: CompletionSpec,
  facts: CompletionSources,
): Completion {
  const plain = (texts: readonly string[]): readonly Candidate[] => [...new Set(texts)].map((text) => ({ text }));
  if (typeof takes !== 'string') return { candidates: plain(takes) };
  switch (takes) {
    case 'any':
      return NO_CANDIDATES;
    case 'driver':
      return { candidates: drivers.map(toCandidate) };
    case 'file':
      return { candidates: [], paths: 'files' };
    case 'folder':
      return { candidates: [], paths: 'folders' };
    case 'image':
      return { candidates: plain([...images, ...facts.listImages()]), paths: 'files' };
    case 'kept-image':
      return { candidates: plain(facts.listImages()) };
    case 'machine':
      return { candidates: plain(facts.listMachines()) };
    case 'place':
    case 'remote': {
      // What lies on a machine, only the machine could tell.
      if (current.includes(':')) return NO_CANDIDATES;
      const candidates = plain(facts.listMachines().map((name) => `${name}:`));
      return takes === 'place' ? { candidates, paths: 'files' } : { candidates };
    }
  }
}
