import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { commands, allCommands } from '../../src/cli/commands/command-list.ts';
import { globalFlags as everywhere, parseFlags } from '../../src/cli/parse-flags.ts';
import { drivers } from '../../src/drivers/registry.ts';
import { SlipwayError } from '../../src/errors.ts';
import { commands as oldCommands } from '../../src/docker-machine/commands/docker-machine-command-list.ts';
import { driverFlags } from '../../src/docker-machine/commands/create.ts';
import { parseFlags as parseOld } from '../../src/docker-machine/go-flags.ts';
import { globalFlags as oldGlobals } from '../../src/docker-machine/help.ts';

// Each command line in the documentation must be valid in this version, because users copy them.

const repository = fileURLToPath(new URL('../..', import.meta.url));
const pages = ['README.md', ...readdirSync(join(repository, 'docs')).filter((name) => name.endsWith('.md'))].map(
  (name) => (name === 'README.md' ? name : `docs/${name}`),
);
const readPage = (page: string): string => readFileSync(join(repository, page), 'utf8');

type CodeSample = { readonly text: string; readonly isInline: boolean };

/** Returns fenced blocks, and the texts between backticks outside of them. */
function codeSamplesIn(markdown: string): readonly CodeSample[] {
  const found: CodeSample[] = [];
  const prose = markdown.replaceAll(/^ *```[^\n]*\n([\s\S]*?)^ *```$/gm, (_whole, body: string) => {
    found.push({ text: body, isInline: false });
    return '';
  });
  for (const [, text = ''] of prose.matchAll(/`([^`]+)`/g))
    found.push({ text: text.replaceAll(String.raw`\|`, '|'), isInline: true });
  return found;
}

/** Splits a text into simple commands as a shell would, including those in command substitutions. */
function commandsIn(text: string): readonly (readonly string[])[] {
  const inner: string[] = [];
  let outer = text.replaceAll('\\\n', ' ');
  for (let before = ''; before !== outer;) {
    before = outer;
    outer = outer.replaceAll(/[$<]\(([^()]*)\)/g, (_whole, body: string) => {
      inner.push(body);
      return 'SUBSTITUTED';
    });
  }
  return [outer, ...inner].flatMap((part) => part.split('\n').flatMap(splitCommands));
}

function splitCommands(line: string): readonly (readonly string[])[] {
  const tokens = [...line.matchAll(/(?:[^\s'"|;&]|'[^']*'|"(?:\\.|[^"\\])*")+|\|\||&&|[|;&]/g)].map(([token]) => token);
  const end = tokens.findIndex((token) => token.startsWith('#'));
  const all: string[][] = [[]];
  for (const token of end < 0 ? tokens : tokens.slice(0, end)) {
    if (/^(\|\||&&|[|;&])$/.test(token)) all.push([]);
    else all.at(-1)?.push(unquote(token));
  }
  return all.map(stripCommandPrefix).filter((words) => words.length > 0);
}

function unquote(token: string): string {
  return token.replaceAll(/'([^']*)'|"((?:\\.|[^"\\])*)"/g, (_whole, single?: string, double?: string) =>
    single === undefined ? (double ?? '').replaceAll(/\\(.)/g, '$1') : single,
  );
}

/** Removes what can precede a command: assignments, shell keywords, and keys of CI files. */
function stripCommandPrefix(words: readonly string[]): readonly string[] {
  const at = words.findIndex(
    (word) => !/^([A-Z_]+=.*|-|run:|if|then|do|while|until|!|exec|time|sudo|\$|%|always|script:)$/.test(word),
  );
  return at < 0 ? [] : words.slice(at);
}

const isPlaceholder = (word: string): boolean => /^(…|\.\.\.|\[.*\]|SUBSTITUTED)$/.test(word);

const isRedirection = (word: string): boolean => /^\d?>/.test(word);

/** Returns the problem of a command line of either program, or undefined if it is valid or of another program. */
async function findMistake(words: readonly string[], inline: boolean): Promise<string | undefined> {
  const typed = words.filter(
    (word, at) => !isPlaceholder(word) && !isRedirection(word) && !/^\d?>>?$/.test(words[at - 1] ?? ''),
  );
  if (typed[0] === 'slipway') return await findSlipwayMistake(typed.slice(1), inline || typed.length < words.length);
  if (typed[0] === 'docker-machine') return await findDockerMachineMistake(typed.slice(1));
  if (typed[0] === 'docker' && typed[1] === 'machine') return await findDockerMachineMistake(typed.slice(2));
  return undefined;
}

async function findSlipwayMistake(words: readonly string[], lenient: boolean): Promise<string | undefined> {
  const isGlobal = (word: string): boolean =>
    ['--help', '-h', '--version', '-V', ...everywhere.map(({ flag }) => `--${flag}`)].includes(word);
  const at = words.findIndex((word) => !isGlobal(word));
  const [name, ...rest] = at < 0 ? [] : words.slice(at);
  if (name === undefined) return undefined;
  if (name === 'help') return isTopic(rest.join(' ')) ? undefined : `no topic of help: ${rest.join(' ')}`;
  const family = commands.some((entry) => entry.name === name && 'members' in entry);
  if (family && rest.length === 0) return undefined;
  const whole = family ? `${name} ${rest[0]}` : name;
  const entry = allCommands.find((one) => one.name === whole);
  if (!entry) return `no command: ${whole}`;
  try {
    parseFlags(
      await entry.load(),
      (family ? rest.slice(1) : rest).filter((word) => !['--help', '-h'].includes(word)),
    );
    return undefined;
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    // In a sentence, a command can be named without its arguments.
    return lenient && error.message.startsWith('Missing required argument') ? undefined : error.message;
  }
}

function isTopic(topic: string): boolean {
  return (
    ['', 'engine', 'life', 'command', ...commands.map(({ name }) => name)].includes(topic) ||
    allCommands.some(({ name }) => name === topic) ||
    drivers.some(({ name }) => name === topic)
  );
}

async function findDockerMachineMistake(words: readonly string[]): Promise<string | undefined> {
  const takesValue = (word: string): boolean =>
    oldGlobals.some(({ kind, names }) => kind !== 'switch' && names.includes(word.replace(/^--?/, '')));
  let at = 0;
  while (words[at]?.startsWith('-') === true) at += takesValue(words[at] ?? '') ? 2 : 1;
  const [name, ...rest] = words.slice(at);
  try {
    parseOld(oldGlobals, words.slice(0, at), {});
    if (name === undefined || name === 'help') return undefined;
    const command = await oldCommands.find((one) => one.name === name)?.load();
    if (!command) return `no command: ${name}`;
    if (command.raw) return undefined;
    const more = name === 'create' ? driverFlags(driverNameIn(rest)) : [];
    parseOld([...command.flags, ...more, { names: ['help', 'h'], kind: 'switch', usage: '' }], rest, {});
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function driverNameIn(words: readonly string[]): string {
  const driver = /(?:^| )--?(?:d|driver)[ =](\S+)/.exec(words.join(' '))?.[1] ?? 'qemu';
  return drivers.find(({ name, aliases }) => name === driver || aliases?.includes(driver) === true)?.name ?? driver;
}

async function findMistakes(markdown: string): Promise<readonly string[]> {
  const found = codeSamplesIn(markdown).flatMap(({ text, isInline }) =>
    commandsIn(text).map((words) => ({ words, inline: isInline })),
  );
  const mistakes = await Promise.all(
    found.map(async ({ words, inline }) => {
      const mistake = await findMistake(words, inline);
      return mistake === undefined ? [] : [`${words.join(' ')}: ${mistake}`];
    }),
  );
  return mistakes.flat();
}

test.each(pages)('each command line of %s is valid', async (page) => {
  expect(await findMistakes(readPage(page))).toEqual([]);
});

test.each([
  ['```sh\nslipway creat web\n```', 'no command: creat'],
  ['```sh\nA=1 slipway ls --jsn # all\n```', "Unknown option '--jsn'"],
  ['```sh\nslipway rm\n```', 'Missing required argument'],
  ['```yaml\n  - run: slipway create web --tttl 4h\n```', "Unknown option '--tttl'"],
  ['and `eval "$(slipway env web --shel fish)"` does', "Unknown option '--shel'"],
  ['or `true && docker-machine ls --filtr a=b`', 'flag provided but not defined: -filtr'],
  ['or `docker machine bogus`', 'no command: bogus'],
  ['```sh\ndocker-machine create -d generic --amazonec2-region x web\n```', 'not defined: -amazonec2-region'],
])('the mistake in %j is found', async (markdown, mistake) => {
  expect((await findMistakes(markdown)).join()).toContain(mistake);
});

/** Returns the anchors that GitHub gives to headings. */
function anchorsIn(markdown: string): readonly string[] {
  return [...markdown.matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(/\s/g, '-'),
  );
}

test.each(pages)('each link of %s has a target', (page) => {
  const prose = readPage(page).replaceAll(/^ *```[\s\S]*?^ *```$/gm, '');
  const broken = [...prose.matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target = '']) => target)
    .filter((target) => !/^https?:/.test(target))
    .filter((target) => {
      const [file = '', anchor] = target.split('#');
      const path = file === '' ? page : join(dirname(page), file);
      if (!existsSync(join(repository, path))) return true;
      return anchor !== undefined && !anchorsIn(readPage(path)).includes(anchor);
    });
  expect(broken).toEqual([]);
});

const sourceText = readdirSync(join(repository, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => readFileSync(join(repository, 'src', file), 'utf8'))
  .join('\n')
  .replaceAll(String.raw`\'`, "'");
const templateText = readdirSync(join(repository, 'templates'), { recursive: true, encoding: 'utf8' })
  .filter((file) => /\.\w+$/.test(file))
  .map((file) => readFileSync(join(repository, 'templates', file), 'utf8'))
  .join('\n');

/** The messages that readers search for; … is the part that varies. */
const symptomHeadings = existsSync(join(repository, 'docs/troubleshooting.md'))
  ? [...readPage('docs/troubleshooting.md').matchAll(/^### `(.+)`$/gm)].map(([, sentence = '']) => sentence)
  : [];

test.each(symptomHeadings)('a message of the program is: %s', (sentence) => {
  const unknownParts = sentence.split('…').filter((part) => !sourceText.includes(part) && !templateText.includes(part));
  expect(unknownParts).toEqual([]);
});
