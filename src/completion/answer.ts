import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseImageFolderName } from '../images/image.ts';
import { isMachineName } from '../machine/model.ts';
import { complete, formatCompletion, type CompletionSpec, type CompletionSources } from './complete.ts';

/** The hidden command that completion scripts call at each Tab. */
export const COMPLETE_COMMAND = '__complete';

type CompletionPaths = {
  /** What the program declares, written when it was built. */
  readonly declarations: string;
  /** The folder that holds `machines`. */
  readonly records: string;
  /** The folder that holds `images`. */
  readonly home: string;
};

/**
 * The answer to `__complete [--new] -- WORDS`, whose last word is what the cursor is in; with `--new` it is one that
 * has no letter yet, which some shells can't hand over. Whatever is wrong here, a Tab is no place to say it: nothing is
 * offered then.
 */
export function runCompletion(argv: readonly string[], { declarations, records, home }: CompletionPaths): string {
  const isNew = argv[0] === '--new';
  const behind = isNew ? argv.slice(1) : argv;
  const words = [...(behind[0] === '--' ? behind.slice(1) : behind), ...(isNew ? [''] : [])];
  try {
    const declared = JSON.parse(readFileSync(declarations, 'utf8')) as CompletionSpec;
    return formatCompletion(complete(declared, words, completionSourcesIn(records, home)));
  } catch {
    return formatCompletion({ candidates: [] });
  }
}

/** From names in folders alone: a record is not opened for its name. */
function completionSourcesIn(records: string, home: string): CompletionSources {
  const machines = join(records, 'machines');
  return {
    listMachines: () =>
      listNames(machines)
        .filter(isMachineName)
        // A folder alone may be what a create left that was stopped before it had begun.
        .filter((name) => ['machine.json', 'config.json'].some((file) => existsSync(join(machines, name, file)))),
    listImages: () => listNames(join(home, 'images')).flatMap((folder) => parseImageFolderName(folder)?.name ?? []),
  };
}

function listNames(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
