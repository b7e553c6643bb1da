const GLYPHS: Readonly<Record<string, string>> = {
  '\\': String.raw`\e`,
  // Readers copy commands from man pages, so these characters must stay ASCII.
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

/** Formats text for a man page. Text between backticks becomes bold. */
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

/** Escapes a dot at the beginning of a line, which roff would read as a request. */
function escapeLeadingDot(text: string): string {
  return text.startsWith('.') ? String.raw`\&${text}` : text;
}

/** Ends the text with a period unless it has its own punctuation. */
export function toSentence(text: string): string {
  return /[.!?…]$/.test(text) ? text : `${text}.`;
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

/** Formats a term and its indented explanation. The term must already be roff. */
export function taggedParagraph(term: string, text: string): string {
  return `.TP\n${term}\n${formatRoff(text)}`;
}

/** Formats lines that the reader types, without joining them. */
export function codeBlock(lines: readonly string[]): string {
  return ['.PP', '.nf', '.RS 4', ...lines.map((line) => escapeLeadingDot(escapeRoff(line))), '.RE', '.fi'].join('\n');
}

export function manPage(name: string, about: string, parts: readonly string[]): string {
  return `${[
    String.raw`.\" Generated from the declarations in src/ by npm run docs; a test fails if it is out of date.`,
    `.TH ${escapeRoff(name)} 1 "" Slipway`,
    section('Name'),
    `${escapeRoff(name)} ${String.raw`\-`} ${escapeRoff(about)}`,
    ...parts,
  ].join('\n')}\n`;
}
