import { createHash } from 'node:crypto';
import type { Facts } from './facts.ts';
import type { RemoteFile, RemoteFileChange } from './step.ts';

/** True where the host does not have the file, or has it with another content, mode or owner. */
export function hasChanged({ path, content, mode }: RemoteFile, { files }: Facts): boolean {
  const present = files[path];
  return present?.sha256 !== sha256(content) || present.mode !== mode || present.owner !== 'root';
}

/**
 * Returns what a script reads as MANIFEST: a line `mode number path` for each file, with the mode `-` for one to
 * remove.
 */
export function formatManifest(files: readonly RemoteFileChange[]): string {
  return files.map((file, index) => `${file.content === undefined ? '-' : file.mode} ${index} ${file.path}`).join('\n');
}

/** Formats a value as Slipway writes JSON on hosts. */
export function formatJson(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function sha256(content: string): string {
  return createHash('sha256').update(content).digest('hex');
}
