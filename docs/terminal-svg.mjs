// Draws the text and colors of a terminal as an SVG.

const NORMAL_COLORS = ['#484f58', '#ff7b72', '#3fb950', '#d29922', '#58a6ff', '#bc8cff', '#39c5cf', '#b1bac4'];
const BRIGHT_COLORS = ['#8b949e', '#ffa198', '#56d364', '#e3b341', '#79c0ff', '#d2a8ff', '#56d4dd', '#f0f6fc'];
const TEXT_COLOR = '#e6edf3';
const DIM_COLOR = '#8b949e';
const FONTS = 'ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, Liberation Mono, monospace';
const PLAIN_STYLE = { color: TEXT_COLOR, bold: false };

/** Splits a line with escape sequences into words of one style each. */
function splitByStyle(line) {
  const words = [];
  let style = PLAIN_STYLE;
  let column = 0;
  // oxlint-disable-next-line no-control-regex -- escape sequences begin with a control character
  for (const part of line.split(/(\u001b\[[0-9;]*m)/)) {
    // oxlint-disable-next-line no-control-regex -- the same
    const codes = /^\u001b\[([0-9;]*)m$/.exec(part)?.[1];
    if (codes !== undefined) {
      for (const code of codes.split(';').map(Number)) style = styleAfter(style, code);
      continue;
    }
    // Each word gets its own column, so that columns stay aligned whatever the width of the font.
    for (const [word] of part.matchAll(/\S+(?: \S+)*|\s+/g)) {
      const width = [...word].length;
      if (word.trim() !== '') words.push({ ...style, word, column, width });
      column += width;
    }
  }
  return words;
}

function styleAfter(style, code) {
  if (code === 0) return PLAIN_STYLE;
  if (code === 1) return { ...style, bold: true };
  if (code === 2) return { ...style, color: DIM_COLOR };
  if (code === 22) return { ...style, bold: false, color: style.color === DIM_COLOR ? TEXT_COLOR : style.color };
  if (code >= 30 && code <= 37) return { ...style, color: NORMAL_COLORS[code - 30] };
  if (code >= 90 && code <= 97) return { ...style, color: BRIGHT_COLORS[code - 90] };
  if (code === 39) return { ...style, color: TEXT_COLOR };
  return style;
}

const escapeXml = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

/**
 * Returns a terminal's screen, with its escape sequences, as an SVG. `origin` becomes a comment that says how the
 * screen was recorded. The window is dark on every page, and a frame separates it from dark pages.
 */
export function renderSvg(screen, { title, origin, columns }) {
  const [cell, height, left, top] = [8.4, 20, 18, 56];
  const lines = screen.trimEnd().split('\n');
  const [width, imageHeight] = [Math.ceil(columns * cell + 2 * left), top + lines.length * height + 2];
  const number = (value) => Number(value.toFixed(1));
  const text = lines.flatMap((line, row) =>
    splitByStyle(line).map(({ word, column, width: cells, color, bold }) => {
      const place = `x="${number(left + column * cell)}" y="${top + row * height}" textLength="${number(cells * cell)}"`;
      const attributes = `${color === TEXT_COLOR ? '' : ` fill="${color}"`}${bold ? ' font-weight="bold"' : ''}`;
      return `<text ${place}${attributes}>${escapeXml(word)}</text>`;
    }),
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${imageHeight}" viewBox="0 0 ${width} ${imageHeight}" role="img">
<title>${escapeXml(title)}</title>
<!-- ${origin.replaceAll('--', '- -')} -->
<rect x=".5" y=".5" width="${width - 1}" height="${imageHeight - 1}" rx="9" fill="#0d1117" stroke="#6e7681"/>
<circle cx="20" cy="19" r="6" fill="#ff5f57"/><circle cx="40" cy="19" r="6" fill="#febc2e"/><circle cx="60" cy="19" r="6" fill="#28c840"/>
<g fill="${TEXT_COLOR}" style="font: 14px ${FONTS}; font-variant-emoji: text">
${text.join('\n')}
</g>
</svg>
`;
}
