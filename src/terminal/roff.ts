/** The language of man pages, as far as ours need it. */

const GLYPHS: Readonly<Record<string, string>> = {
  '\\': String.raw`\e`,
  // What is typed has to be the character that is typed.
  '-': String.raw`\-`,
  "'": String.raw`\(aq`,
  '`': String.raw`\(ga`,
  '"': String.raw`\(dq`,
  '^': String.raw`\(ha`,
  '~': String.raw`\(ti`,
  '’': String.raw`\(cq`,
  '“': String.raw`\(lq`,
  '”': String.raw`\(rq`,
  '–': String.raw`\(en`,
  '…': '...',
};

/** Text that means nothing to roff but itself; what stands between backticks is bold. */
export function roff(text: string): string {
  const pieces = text.replaceAll(/\s+/g, ' ').split(/(`[^`]+`)/);
  return atLineStart(pieces.map((piece) => (/^`.+`$/.test(piece) ? bold(piece.slice(1, -1)) : plain(piece))).join(''));
}

export function bold(text: string): string {
  return `${String.raw`\fB`}${plain(text)}${String.raw`\fR`}`;
}

export function italic(text: string): string {
  return `${String.raw`\fI`}${plain(text)}${String.raw`\fR`}`;
}

function plain(text: string): string {
  return text.replaceAll(/[\\\-'`"^~]|[^\p{ASCII}]/gu, (letter) => GLYPHS[letter] ?? named(letter));
}

function named(letter: string): string {
  const point = (letter.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0');
  return String.raw`\[u${point}]`;
}

/** A dot there begins a request. */
function atLineStart(text: string): string {
  return text.startsWith('.') ? String.raw`\&${text}` : text;
}

export function section(title: string): string {
  return `.SH ${plain(title.toUpperCase())}`;
}

export function subsection(title: string): string {
  return `.SS ${plain(title)}`;
}

export function paragraph(text: string): string {
  return `.PP\n${roff(text)}`;
}

/** `term` is roff already. */
export function item(term: string, text: string): string {
  return `.TP\n${term}\n${roff(text)}`;
}

/** Lines as they are typed. */
export function typed(lines: readonly string[]): string {
  return ['.PP', '.nf', '.RS 4', ...lines.map((line) => atLineStart(plain(line))), '.RE', '.fi'].join('\n');
}

export function page(name: string, about: string, parts: readonly string[]): string {
  return `${[
    String.raw`.\" Made from the declarations in src/ by npm run docs; a test fails when it is stale.`,
    `.TH ${plain(name)} 1 "" Slipway`,
    section('Name'),
    `${plain(name)} ${String.raw`\-`} ${plain(about)}`,
    ...parts,
  ].join('\n')}\n`;
}
