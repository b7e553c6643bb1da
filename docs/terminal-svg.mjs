// A terminal's text and colours -> a picture of it.

const NORMAL_COLORS = ['#484f58', '#ff7b72', '#3fb950', '#d29922', '#58a6ff', '#bc8cff', '#39c5cf', '#b1bac4'];
const BRIGHT_COLORS = ['#8b949e', '#ffa198', '#56d364', '#e3b341', '#79c0ff', '#d2a8ff', '#56d4dd', '#f0f6fc'];
const TEXT_COLOR = '#e6edf3';
const DIM_COLOR = '#8b949e';
const FONTS = 'ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, Liberation Mono, monospace';
const PLAIN_STYLE = { color: TEXT_COLOR, bold: false };

/** A line with its escape sequences -> pieces of one look each. */
function splitByStyle(line) {
  const found = [];
  let look = PLAIN_STYLE;
  let column = 0;
  // oxlint-disable-next-line no-control-regex -- escape sequences begin with a control character
  for (const part of line.split(/(\u001b\[[0-9;]*m)/)) {
    // oxlint-disable-next-line no-control-regex -- the same
    const codes = /^\u001b\[([0-9;]*)m$/.exec(part)?.[1];
    if (codes !== undefined) {
      for (const code of codes.split(';').map(Number)) look = styleAfter(look, code);
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

function styleAfter(look, code) {
  if (code === 0) return PLAIN_STYLE;
  if (code === 1) return { ...look, bold: true };
  if (code === 2) return { ...look, color: DIM_COLOR };
  if (code === 22) return { ...look, bold: false, color: look.color === DIM_COLOR ? TEXT_COLOR : look.color };
  if (code >= 30 && code <= 37) return { ...look, color: NORMAL_COLORS[code - 30] };
  if (code >= 90 && code <= 97) return { ...look, color: BRIGHT_COLORS[code - 90] };
  if (code === 39) return { ...look, color: TEXT_COLOR };
  return look;
}

const escapeXml = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

/**
 * What a terminal shows, with its escape sequences -> an SVG. `made` says where it comes from, for whoever reads the
 * file. The window is dark on every page, and its frame tells it from a page that is dark as well.
 */
export function renderSvg(screen, { title, made, columns }) {
  const [cell, height, left, top] = [8.4, 20, 18, 56];
  const lines = screen.trimEnd().split('\n');
  const [width, whole] = [Math.ceil(columns * cell + 2 * left), top + lines.length * height + 2];
  const number = (value) => Number(value.toFixed(1));
  const text = lines.flatMap((line, row) =>
    splitByStyle(line).map(({ word, column, width: cells, color, bold }) => {
      const place = `x="${number(left + column * cell)}" y="${top + row * height}" textLength="${number(cells * cell)}"`;
      const look = `${color === TEXT_COLOR ? '' : ` fill="${color}"`}${bold ? ' font-weight="bold"' : ''}`;
      return `<text ${place}${look}>${escapeXml(word)}</text>`;
    }),
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${whole}" viewBox="0 0 ${width} ${whole}" role="img">
<title>${escapeXml(title)}</title>
<!-- ${made.replaceAll('--', '- -')} -->
<rect x=".5" y=".5" width="${width - 1}" height="${whole - 1}" rx="9" fill="#0d1117" stroke="#6e7681"/>
<circle cx="20" cy="19" r="6" fill="#ff5f57"/><circle cx="40" cy="19" r="6" fill="#febc2e"/><circle cx="60" cy="19" r="6" fill="#28c840"/>
<g fill="${TEXT_COLOR}" style="font: 14px ${FONTS}; font-variant-emoji: text">
${text.join('\n')}
</g>
</svg>
`;
}
