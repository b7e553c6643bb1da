import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  dockerCliFunctions,
  dockerMachineFunctions,
  parseRowFormat,
  parseTemplate,
  formatTable,
  TemplateError,
  type RenderOptions,
} from '../../src/go-template/index.ts';

type GoldenData = {
  readonly data: Readonly<Record<string, unknown>>;
  /** `output` is null where Go refuses the template or its data. */
  readonly cases: readonly { readonly template: string; readonly output: string | null }[];
  readonly tables: readonly { readonly lines: readonly string[]; readonly output: readonly string[] }[];
};

/** The output of Go 1.19 for these templates, with Docker Machine's functions and its tabwriter. */
const golden = JSON.parse(readFileSync(new URL('go-template.json', import.meta.url), 'utf8')) as GoldenData;

/** Returns the text, or null where a TemplateError refused the template. */
function renderOrNull(
  template: string,
  data: unknown = golden.data,
  functions = dockerMachineFunctions,
): string | null {
  try {
    return parseTemplate(template, functions).render(data);
  } catch (error) {
    if (error instanceof TemplateError) return null;
    throw error;
  }
}

function templateError(template: string, data: unknown = {}, options: RenderOptions = {}): TemplateError {
  try {
    parseTemplate(template, dockerCliFunctions).render(data, options);
  } catch (error) {
    if (error instanceof TemplateError) return error;
    throw error;
  }
  throw new Error(`${template} was not refused`);
}

describe('a template prints what Go prints', () => {
  test.each(golden.cases)('$template', ({ template, output }) => {
    expect(renderOrNull(template)).toBe(output);
  });

  test.each(golden.tables)('aligns the columns of $lines', ({ lines, output }) => {
    expect(formatTable(lines)).toEqual(output);
  });
});

describe('a TemplateError', () => {
  test('has the problem, its position and the known words', () => {
    expect(templateError('a {{.Name | uper}}')).toMatchObject({
      message: 'unknown function uper',
      at: 12,
      word: 'uper',
    });
    expect(templateError('{{uper}}').known).toContain('upper');
    expect(templateError('{{$nmae}}')).toMatchObject({ message: 'unknown variable $nmae', known: ['$'] });
    expect(templateError('{{if .x}}')).toMatchObject({ message: 'this if is not closed: {{end}} is missing', at: 2 });
    expect(templateError('x{{.Name')).toMatchObject({ message: 'an action is not closed: }} is missing', at: 1 });
    expect(templateError('{{index .a 3}}', { a: [1] })).toMatchObject({ message: 'index 3 is out of range', at: 2 });
    expect(templateError('{{printf "%z" 1}}')).toMatchObject({ message: 'printf does not support %z', at: 2 });
    expect(templateError('{{json 1 2}}')).toMatchObject({ message: 'json takes 1 argument, got 2' });
    expect(templateError('{{eq .a 2376}}', { a: 2376 })).toMatchObject({
      message: "float64 and int can't be compared",
    });
    expect(templateError('{{/* x')).toMatchObject({ message: 'a comment is not closed: */ is missing' });
    expect(templateError('{{"x}}')).toMatchObject({ message: 'a quote is not closed', at: 2 });
    expect(templateError('{{.a!}}')).toMatchObject({ message: 'unexpected "!"', at: 4 });
  });

  test('names words of the language that are not supported', () => {
    for (const word of ['define', 'template', 'block', 'call'])
      expect(templateError(`{{${word} "x" .}}`)).toMatchObject({ message: `${word} is not supported`, at: 2 });
    expect(templateError('{{printf "%*d" 1 2}}').message).toBe('printf does not support %*');
    expect(templateError('{{printf "%[1]d" 1}}').message).toBe('printf does not support %[');
    expect(templateError('{{printf "%#v" 1}}').message).toBe('printf does not support %#v');
  });

  test('refuses an unknown field of a row, but not one of a map within the row', () => {
    const row = { Name: 'web', Labels: {} };
    const strict = { strict: true };
    expect(templateError('{{.Nmae}}', row, strict)).toMatchObject({ known: ['.Name', '.Labels'], word: '.Nmae' });
    expect(templateError('{{range .Labels}}{{else}}{{$.State}}{{end}}', row, strict).word).toBe('.State');
    expect(parseTemplate('{{.Labels.zone}}').render(row, strict)).toBe('<no value>');
  });
});

test('docs/formats.md names every function', () => {
  const page = readFileSync(new URL('../../docs/formats.md', import.meta.url), 'utf8');
  const known = templateError('{{nothing}}').known;
  expect(known.filter((name) => !page.includes(`\`${name}\``))).toEqual([]);
  expect(known.length).toBeGreaterThan(20);
});

describe('numbers of the data', () => {
  test('are float64, or int if the caller asks for it and they are whole', () => {
    const data = { days: 1000000, load: 0.5 };
    expect(parseTemplate('{{.days}} {{.load}}').render(data)).toBe('1e+06 0.5');
    const whole = { numbers: 'int' } as const;
    expect(parseTemplate('{{.days}} {{.load}} {{lt .days 30}} {{json .}}').render(data, whole)).toBe(
      '1000000 0.5 false {"days":1000000,"load":0.5}',
    );
  });
});

test('the functions of the docker CLI print the same as in the docker CLI', () => {
  const data = { names: ['a', 'b'], name: 'größe' };
  const cases: Readonly<Record<string, string>> = {
    '{{join .names ", "}}': 'a, b',
    '{{range split "a.b" "."}}<{{.}}>{{end}}': '<a><b>',
    '{{range split "ab" ""}}<{{.}}>{{end}}': '<a><b>',
    '{{upper .name}} {{.name | upper | lower}}': 'GRÖSSE grösse',
    '{{pad .name 1 2}}|{{pad "" 1 2}}|': ' größe  ||',
    '{{truncate .name 3}} {{truncate .name 99}} {{truncate .name -1}}': 'grö größe ',
    '{{prettyjson .names}}': '[\n    "a",\n    "b"\n]',
  };
  for (const [template, text] of Object.entries(cases))
    expect(renderOrNull(template, data, dockerCliFunctions)).toBe(text);
  expect(renderOrNull('{{upper .name}}', data)).toBeNull();
  expect(renderOrNull('{{join .name ","}}', data, dockerCliFunctions)).toBeNull();
});

describe('parseRowFormat', () => {
  const titles = { Name: 'NAME', State: 'STATE', Current: 'CURRENT' };
  const rows = [
    { Name: 'web', State: 'running', Current: '*' },
    { Name: 'a-long-name', State: 'stopped', Current: '' },
  ];

  test('prints titles and columns for a format with `table` in front', () => {
    const format = parseRowFormat('table  {{.Name}}\\t{{upper .State}}\\t{{.Current}}', dockerCliFunctions);
    expect(format.render(rows, titles)).toEqual([
      'NAME          STATE     CURRENT',
      'web           RUNNING   *',
      'a-long-name   STOPPED   ',
    ]);
    expect(format.render([], titles)).toEqual(
      ['NAME      STATE     CURRENT'].map((line) => line.replace(/ +/g, '   ')),
    );
  });

  test('prints each row as it is without `table`, and takes \\t and \\n for a tab and a new line', () => {
    const format = parseRowFormat('{{.Name}}\\t{{.State}}\\n{{.Current}}', dockerCliFunctions);
    expect(format.render(rows, titles)).toEqual(['web\trunning\n*', 'a-long-name\tstopped\n']);
  });
});

describe('any template', () => {
  const pieces = fc.constantFrom(
    ...'{{ }} {{- -}} . .a .b $ $x := = | ( ) , if else end range with break continue and or not index len slice printf print json split join pad truncate eq lt html js urlquery nil true "a" "%5d" "%v" `x` 1 -1 1.5 1e9 99999999 \'a\' /* */ define " \' ` \\ % \u{1F600} \uD800'.split(
      ' ',
    ),
    ' ',
    '\n',
    '{{.a}}',
    '{{range .}}',
    '{{range $i, $x := .}}',
    '{{if .a}}',
    '{{else}}',
    '{{end}}',
  );
  const template = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.array(pieces, { maxLength: 24 }).map((parts) => parts.join('')),
    fc.array(pieces, { maxLength: 12 }).map((parts) => `{{${parts.join(' ')}}}`),
  );

  test('is rendered or refused, and ends', () => {
    fc.assert(
      fc.property(template, fc.oneof(fc.jsonValue(), fc.constant(golden.data)), (text, data) => {
        renderOrNull(text, data, dockerCliFunctions);
      }),
      { numRuns: 3000 },
    );
  });

  test('is refused if it would run or grow without a limit', () => {
    const list = { l: Array.from({ length: 100 }, (_, index) => index) };
    const ranges = `${'{{range $.l}}'.repeat(8)}x${'{{end}}'.repeat(8)}`;
    expect(templateError(ranges, list).message).toBe('the template takes too many steps');
    const doubled = `{{$x := "ab"}}${'{{$x = print $x $x}}'.repeat(40)}`;
    const tooMuch = 'the output is too long';
    expect(templateError(doubled).message).toBe(tooMuch);
    expect(templateError('{{pad "x" 99999999999 1}}').message).toBe(tooMuch);
    const wide = `{{printf "${'%999s'.repeat(17_000)}"${' "x"'.repeat(17_000)}}}`;
    expect(templateError(wide).message).toBe(tooMuch);
  });

  test('can nest up to a limit', () => {
    expect(renderOrNull(`{{${'('.repeat(90)}1${')'.repeat(90)}}}`)).toBe('1');
    expect(renderOrNull(`{{${'('.repeat(100_000)}`)).toBeNull();
    expect(renderOrNull('{{if .Name}}'.repeat(100_000))).toBeNull();
    expect(renderOrNull(`{{if .F}}${'{{else if .F}}'.repeat(10_000)}{{end}}`)).toBeNull();
    const deep = JSON.parse(`${'['.repeat(5000)}${']'.repeat(5000)}`) as unknown;
    expect(renderOrNull('{{json .}}', deep)?.length ?? 10_000).toBe(10_000);
  });
});
