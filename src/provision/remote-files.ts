import { createHash } from 'node:crypto';
import type { Facts } from './facts.ts';
import type { RemoteFile, RemoteFileChange } from './step.ts';

/** Returns whether the file is missing on the host, or has another content, mode or owner there. */
export function hasChanged({ path, content, mode }: RemoteFile, { files }: Facts): boolean {
  const present = files[path];
  return present?.sha256 !== sha256(content) || present.mode !== mode || present.owner !== 'root';
}

/** Returns the variable MANIFEST of a script: a line `mode number path` for each file; mode `-` removes the file. */
export function formatManifest(files: readonly RemoteFileChange[]): string {
  return files.map((file, index) => `${file.content === undefined ? '-' : file.mode} ${index} ${file.path}`).join('\n');
}

/** Formats a value as JSON for a file on a host. */
export function formatJson(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** Returns the digest that the facts have of a file with this content. */
export function sha256(content: string): string {
  return createHash('sha256').update(content).digest('hex');
}
