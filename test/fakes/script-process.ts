import { spawn, type ChildProcess } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { isPosix } from './file-modes.ts';

const sourceFolder = fileURLToPath(new URL('../../src/', import.meta.url));

/** Bundles a module of src/ and its imports into one file in `folder`, and returns its URL, for scripts to import. */
export async function bundleModule(module: string, folder: string): Promise<string> {
  const outfile = join(folder, module.replace(/\.ts$/, '.mjs'));
  await build({
    entryPoints: [join(sourceFolder, module)],
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
  });
  return pathToFileURL(outfile).href;
}

/** A script that runs in a separate Node process. */
export type ScriptProcess = {
  readonly process: ChildProcess;
  /** Resolves with the exit status, or with the signal that ended the process. */
  readonly ended: Promise<number | NodeJS.Signals | null>;
  /** Resolves with the next complete line of stdout, or undefined after the last one. */
  readLine(): Promise<string | undefined>;
};

/** Returns whether a script that never ends with status 1 by itself was killed. On Windows it then has that status. */
export function hasBeenKilled(ended: number | NodeJS.Signals | null): boolean {
  return ended === (isPosix ? 'SIGKILL' : 1);
}

/** Writes a script to a file in `folder`, and starts it in a separate Node process. */
export async function startScript(script: string, folder: string, ...argv: readonly string[]): Promise<ScriptProcess> {
  const file = join(folder, `script-${Math.random().toString(36).slice(2)}.mjs`);
  await writeFile(file, script);
  const child = spawn(process.execPath, [file, ...argv], { stdio: ['ignore', 'pipe', 'inherit'] });
  const output = { lines: [] as string[], hasEnded: false };
  let incompleteLine = '';
  let wake = (): void => {};
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const parts = (incompleteLine + text).split('\n');
    incompleteLine = parts.pop() ?? '';
    output.lines.push(...parts);
    wake();
  });
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) => {
    child.once('close', (code, signal) => {
      output.hasEnded = true;
      wake();
      resolve(code ?? signal);
    });
  });
  return {
    process: child,
    ended,
    async readLine() {
      while (output.lines.length === 0 && !output.hasEnded) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return output.lines.shift();
    },
  };
}
