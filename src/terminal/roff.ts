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
export function formatRoff(text: string): string {
  const pieces = text.replaceAll(/\s+/g, ' ').split(/(`[^`]+`)/);
  return escapeLeadingDot(
    pieces.map((piece) => (/^`.+`$/.test(piece) ? bold(piece.slice(1, -1)) : escapeRoff(piece))).join(''),
  );
}

export function bold(text: string): string {
  return `${String.raw`\fB`}${escapeRoff(text)}${String.raw`\fR`}`;
}

export function italic(text: string): string {
  return `${String.raw`\fI`}${escapeRoff(text)}${String.raw`\fR`}`;
}

function escapeRoff(text: string): string {
  return text.replaceAll(/[\\\-'`"^~]|[^\p{ASCII}]/gu, (letter) => GLYPHS[letter] ?? toGlyphEscape(letter));
}

function toGlyphEscape(letter: string): string {
  const point = (letter.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0');
  return String.raw`\[u${point}]`;
}

/** A dot there begins a request. */
function escapeLeadingDot(text: string): string {
  return text.startsWith('.') ? String.raw`\&${text}` : text;
}

export function section(title: string): string {
  return `.SH ${escapeRoff(title.toUpperCase())}`;
}

export function subsection(title: string): string {
  return `.SS ${escapeRoff(title)}`;
}

export function paragraph(text: string): string {
  return `.PP\n${formatRoff(text)}`;
}

/** `term` is roff already. */
export function taggedParagraph(term: string, text: string): string {
  return `.TP\n${term}\n${formatRoff(text)}`;
}

/** Lines as they are typed. */
export function codeBlock(lines: readonly string[]): string {
  return ['.PP', '.nf', '.RS 4', ...lines.map((line) => escapeLeadingDot(escapeRoff(line))), '.RE', '.fi'].join('\n');
}

export function manPage(name: string, about: string, parts: readonly string[]): string {
  return `${[
    String.raw`.\" Made from the declarations in src/ by npm run docs; a test fails when it is stale.`,
    `.TH ${escapeRoff(name)} 1 "" Slipway`,
    section('Name'),
    `${escapeRoff(name)} ${String.raw`\-`} ${escapeRoff(about)}`,
    ...parts,
  ].join('\n')}\n`;
}
