/**
 * Collects a stream's text and passes on each line once it is complete. Of a line with carriage returns, it passes on
 * the part after the last one, as a terminal shows it.
 */
export function collectOutput(stream: NodeJS.ReadableStream, onLine?: (line: string) => void): () => string {
  let text = '';
  let rest = '';
  stream.setEncoding('utf8');
  stream.on('data', (chunk: string) => {
    text += chunk;
    if (!onLine) return;
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) onLine(line.trimEnd().split('\r').at(-1) ?? '');
  });
  return () => text;
}
