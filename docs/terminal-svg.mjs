// A terminal's text and colours -> a picture of it.

const COLORS = ['#484f58', '#ff7b72', '#3fb950', '#d29922', '#58a6ff', '#bc8cff', '#39c5cf', '#b1bac4'];
const BRIGHT = ['#8b949e', '#ffa198', '#56d364', '#e3b341', '#79c0ff', '#d2a8ff', '#56d4dd', '#f0f6fc'];
const TEXT = '#e6edf3';
const DIM = '#8b949e';
const FONTS = 'ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, Liberation Mono, monospace';
const PLAIN = { color: TEXT, bold: false };

/** A line with its escape sequences -> pieces of one look each. */
function pieces(line) {
  const found = [];
  let look = PLAIN;
  let column = 0;
  // oxlint-disable-next-line no-control-regex -- escape sequences begin with a control character
  for (const part of line.split(/(\u001b\[[0-9;]*m)/)) {
    // oxlint-disable-next-line no-control-regex -- the same
    const codes = /^\u001b\[([0-9;]*)m$/.exec(part)?.[1];
    if (codes !== undefined) {
      for (const code of codes.split(';').map(Number)) look = lookAfter(look, code);
      continue;
    }
    // Each word at a column of its own: fonts differ in width, and what stands below each other stays there.
    for (const [word] of part.matchAll(/\S+(?: \S+)*|\s+/g)) {
      const width = [...word].length;
      if (word.trim() !== '') found.push({ ...look, word, column, width });
      column += width;
    }
  }
  return found;
}

function lookAfter(look, code) {
  if (code === 0) return PLAIN;
  if (code === 1) return { ...look, bold: true };
  if (code === 2) return { ...look, color: DIM };
  if (code === 22) return { ...look, bold: false, color: look.color === DIM ? TEXT : look.color };
  if (code >= 30 && code <= 37) return { ...look, color: COLORS[code - 30] };
  if (code >= 90 && code <= 97) return { ...look, color: BRIGHT[code - 90] };
  if (code === 39) return { ...look, color: TEXT };
  return look;
}

const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

/**
 * What a terminal shows, with its escape sequences -> an SVG. `made` says where it comes from, for whoever reads the file.
 * The window is dark on every page, and its frame tells it from a page that is dark as well.
 */
export function drawing(screen, { title, made, columns }) {
  const [cell, height, left, top] = [8.4, 20, 18, 56];
  const lines = screen.trimEnd().split('\n');
  const [width, whole] = [Math.ceil(columns * cell + 2 * left), top + lines.length * height + 2];
  const number = (value) => Number(value.toFixed(1));
  const text = lines.flatMap((line, row) =>
    pieces(line).map(({ word, column, width: cells, color, bold }) => {
      const place = `x="${number(left + column * cell)}" y="${top + row * height}" textLength="${number(cells * cell)}"`;
      const look = `${color === TEXT ? '' : ` fill="${color}"`}${bold ? ' font-weight="bold"' : ''}`;
      return `<text ${place}${look}>${escaped(word)}</text>`;
    }),
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${whole}" viewBox="0 0 ${width} ${whole}" role="img">
<title>${escaped(title)}</title>
<!-- ${made.replaceAll('--', '- -')} -->
<rect x=".5" y=".5" width="${width - 1}" height="${whole - 1}" rx="9" fill="#0d1117" stroke="#6e7681"/>
<circle cx="20" cy="19" r="6" fill="#ff5f57"/><circle cx="40" cy="19" r="6" fill="#febc2e"/><circle cx="60" cy="19" r="6" fill="#28c840"/>
<g fill="${TEXT}" style="font: 14px ${FONTS}; font-variant-emoji: text">
${text.join('\n')}
</g>
</svg>
`;
}
