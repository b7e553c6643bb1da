import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

// The rules of CONTRIBUTING's section "Language" that a program can check. Each failing test prints its rule.

const root = fileURLToPath(new URL('../..', import.meta.url));
const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  cwd: root,
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => file !== '' && !/^(test\/contract\/compatibility\/|package-lock\.json|LICENSE)|\.svg$/.test(file));
const read = (file: string): string => readFileSync(join(root, file), 'utf8');
const code = files
  .filter((file) => /^(src|test|bench)\/.*\.(ts|mjs)$/.test(file))
  .map((file) => ({ file, text: read(file) }));
const source = code.filter(({ file }) => file.startsWith('src/'));

type Declaration = {
  readonly file: string;
  readonly name: string;
  readonly isAsync: boolean;
  /** The return type as it is written; undefined where the compiler infers it. */
  readonly returns: string | undefined;
  readonly body: string;
};

/** Functions at the top of a file, and constants there that hold a function. */
function functionsIn({ file, text }: { readonly file: string; readonly text: string }): readonly Declaration[] {
  const declared = text.matchAll(
    /^(?:export )?(?:(async )?function\*? (\w+)|const (\w+) = (async )?(?=[(<]))([\s\S]*?)(?=^(?:export|function|async|const|let|type|\/\*\*|\/\/|test|describe|for|if|await|class)\b|(?![\s\S]))/gm,
  );
  return [...declared].map(([, asyncFunction, name = '', constant = '', asyncArrow, rest = '']) => ({
    file,
    name: name || constant,
    isAsync: asyncFunction !== undefined || asyncArrow !== undefined,
    returns: returnTypeIn(rest),
    body: rest,
  }));
}

/** Returns the text between the parameters' closing parenthesis and the body. */
function returnTypeIn(rest: string): string | undefined {
  let depth = 0;
  for (let at = 0; at < rest.length; at += 1) {
    if (rest[at] === '(') depth += 1;
    if (rest[at] === ')') depth -= 1;
    if (depth === 0 && rest[at] === ')')
      return /^\): ((?:[^={]|=(?!>)|\{[^}]*\})+?)(?: \{\n| =>)/.exec(rest.slice(at))?.[1]?.trim();
  }
  return undefined;
}

const functions = code.flatMap(functionsIn);
const isInSource = ({ file }: Declaration): boolean => file.startsWith('src/');
const formatDeclaration = ({ file, name }: Declaration): string => `${file}: ${name}`;
const firstWord = (name: string): string => /^[a-z]+/.exec(name)?.[0] ?? '';

test('effects are verbs: no asynchronous function is named by a participle', () => {
  const verbs = new Set([
    'need',
    'feed',
    'seed',
    'embed',
    'proceed',
    'ping',
    'bring',
    'read',
    'spread',
    'put',
    'set',
    'shed',
    'run',
  ]);
  const irregular = new Set([
    'laid',
    'told',
    'made',
    'found',
    'begun',
    'kept',
    'gone',
    'sent',
    'met',
    'left',
    'done',
    'born',
    'known',
    'given',
    'taken',
    'written',
    'shown',
    'chosen',
    'said',
    'held',
    'lent',
    'bound',
    'built',
    'become',
  ]);
  const isParticiple = (word: string): boolean => !verbs.has(word) && (irregular.has(word) || /(ed|ing)$/.test(word));
  expect(
    functions.filter(({ isAsync, name }) => isAsync && isParticiple(firstWord(name))).map(formatDeclaration),
  ).toEqual([]);
});

test('guards begin with require: a function that only refuses is called so', () => {
  const throws = /\bthrow (new SlipwayError|\w+Error\()/;
  // Besides refusing, a guard only looks: no statement of its body does anything else.
  const onlyLooks = (body: string): boolean =>
    body
      .split('\n')
      .filter((line) => /^ {2}\S/.test(line))
      .every((line) => /^ {2}(if|else|throw|const|return|switch|for|case|\/\/|[})\]'"`?:&|])/.test(line));
  expect(
    functions
      .filter(isInSource)
      .filter(({ returns, body }) => returns === 'void' && throws.test(body) && onlyLooks(body))
      .filter(({ name }) => firstWord(name) !== 'require')
      .map(formatDeclaration),
  ).toEqual([]);
});

test('predicates begin with is, has or can and return a boolean, and a pure function that returns one is called so', () => {
  const isPredicate = (name: string): boolean => /^(is|has|can)[A-Z]/.test(name);
  const isBoolean = (returns: string): boolean => /^(boolean|Promise<boolean>|\w+ is .+)$/.test(returns);
  expect(
    functions
      .filter(({ name, returns }) =>
        isPredicate(name) ? returns !== undefined && !isBoolean(returns) : returns === 'boolean',
      )
      .map((one) => `${formatDeclaration(one)}: ${one.returns}`),
  ).toEqual([]);
});

test('a function that creates an error ends in Error', () => {
  expect(
    functions
      .filter(isInSource)
      .filter(({ name, returns }) => /^(\w*Error)$/.test(returns ?? '') && !name.endsWith('Error'))
      .map(formatDeclaration),
  ).toEqual([]);
});

test('one type name has one meaning: no two types of src/ have the same name', () => {
  const all = source.flatMap(({ file, text }) =>
    [...text.matchAll(/^(?:export )?type (\w+)/gm)].map(([, name = '']) => ({ file, name })),
  );
  const twice = all.filter(({ name }, at) => all.findIndex((other) => other.name === name) !== at);
  expect(twice.map(({ file, name }) => `${name} (${file})`)).toEqual([]);
});

/** Files whose subject is other apostrophes: quoting for shells and man pages. */
const QUOTING =
  /^(src\/manual\/roff\.ts|src\/profiles\/shell-env\.ts|src\/docker-machine\/env-syntax\.ts|test\/.*(shell-env|man-pages|awkward-words|language).*)$/;

test('apostrophes are straight, so that what is read can be searched for', () => {
  const curly = files.filter((file) => !QUOTING.test(file) && /[\u2018\u2019]/.test(read(file)));
  expect(curly).toEqual([]);
});

test('comments and prose wrap at 120 columns, like code', () => {
  const isGenerated = (file: string): boolean => /^docs\/(options|docker-machine-commands)\.md$/.test(file);
  const texts = files.filter((file) => /\.(ts|mjs|sh|md)$|^\.ci\/run$/.test(file) && !isGenerated(file));
  expect(texts.flatMap((file) => longLinesIn(read(file), file.endsWith('.md')).map((at) => `${file}:${at}`))).toEqual(
    [],
  );
});

/**
 * Numbers of the lines of comments or prose that are too long. Tables, examples and what can't be broken do not count.
 */
function longLinesIn(text: string, isMarkdown: boolean): readonly number[] {
  let isFenced = false;
  return text.split('\n').flatMap((line, at) => {
    if (isMarkdown && line.startsWith('```')) isFenced = !isFenced;
    const isUnbreakable = /`[^`]{100,}`/.test(line);
    const counts = isMarkdown
      ? !isFenced && !/^(\||\s*!\[| {4})/.test(line)
      : /^\s*(\/\/|\/?\*|#)/.test(line) && !/^\s*(\/\/|\*|#) {3}|[│┌└─]|@ts-|oxlint-|shellcheck/.test(line);
    return counts && !isUnbreakable && line.length > 120 ? [at + 1] : [];
  });
}
