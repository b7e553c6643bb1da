import { join } from 'node:path';

/** Returns a path in which `~` stands for the home folder. The shells of Windows pass `~` on as it is. */
export function expandHome(path: string, home: string): string {
  return /^~[\\/]/.test(path) ? join(home, path.slice(2)) : path;
}
