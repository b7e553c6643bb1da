import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { World } from '../../src/operations/world.ts';
import type { Progress } from '../../src/progress.ts';
import { openStore } from '../../src/machine/store.ts';
import { clientPlacesIn } from './client-paths.ts';

export type RecordingProgress = Progress & { readonly ids: readonly string[]; readonly notes: readonly string[] };

/** Ends the code as a kill would: it is not a SlipwayError, so no code may catch it. */
export const KILLED = new Error('killed by the test');

/** Returns a progress that records its calls, and can end the code before or after a step. */
export function recordingProgress(kill?: {
  readonly when: 'before' | 'after';
  readonly id: string;
}): RecordingProgress {
  const ids: string[] = [];
  const notes: string[] = [];
  return {
    ids,
    notes,
    async step(id, _title, work) {
      ids.push(id);
      if (kill?.id === id && kill.when === 'before') throw KILLED;
      const result = await work(() => {});
      if (kill?.id === id && kill.when === 'after') throw KILLED;
      return result;
    },
    lastStepId: () => ids.at(-1) ?? '',
    note: (text) => notes.push(text),
  };
}

/** Creates a world in a folder with the real store and templates, and these differences. */
export function worldIn(home: string, more: Partial<World> & Pick<World, 'connect'>): World {
  return {
    computer: {
      platform: 'linux',
      arch: 'x64',
      env: {},
      home: join(home, '.slipway'),
      templates: fileURLToPath(new URL('../../templates/', import.meta.url)),
    },
    store: openStore(join(home, '.slipway')),
    newKeyPair: async (comment) => ({ private: 'PRIVATE', public: `ssh-ed25519 AAAA ${comment}` }),
    progress: recordingProgress(),
    readTemplate: (name) => readFile(new URL(`../../templates/${name}`, import.meta.url), 'utf8'),
    signal: new AbortController().signal,
    now: () => new Date(),
    userHome: home,
    sshAgent: undefined,
    sudoPassword: undefined,
    clientPaths: clientPlacesIn(home),
    debug: () => {},
    ...more,
  };
}
