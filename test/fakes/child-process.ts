import { spawn, type ChildProcess } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const sourceFolder = fileURLToPath(new URL('../../src/', import.meta.url));

/** Bundles a module of src/ into a file in this folder that Node runs as it is. */
export async function bundleModule(module: string, folder: string): Promise<string> {
  const outfile = join(folder, module.replace(/\.ts$/, '.mjs'));
  await build({ entryPoints: [join(sourceFolder, module)], outfile, bundle: true, format: 'esm', platform: 'node' });
  return outfile;
}

export type Child = {
  readonly process: ChildProcess;
  /** Exit status, or the signal's name. */
  readonly ended: Promise<number | NodeJS.Signals | null>;
  /** Resolves with the child's next complete line, or undefined after its last one. */
  readLine(): Promise<string | undefined>;
};

/** Starts this script in a separate process. */
export async function startChild(script: string, folder: string, ...argv: readonly string[]): Promise<Child> {
  const file = join(folder, `child-${Math.random().toString(36).slice(2)}.mjs`);
  await writeFile(file, script);
  const process_ = spawn(process.execPath, [file, ...argv], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines: string[] = [];
  let rest = '';
  const state = { over: false };
  let wake = (): void => {};
  process_.stdout.setEncoding('utf8').on('data', (text: string) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop() ?? '';
    lines.push(...parts);
    wake();
  });
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) => {
    process_.once('close', (code, signal) => {
      state.over = true;
      wake();
      resolve(code ?? signal);
    });
  });
  return {
    process: process_,
    ended,
    async readLine() {
      while (lines.length === 0 && !state.over) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return lines.shift();
    },
  };
}
