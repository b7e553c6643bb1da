import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseImageFolderName } from '../images/image.ts';
import { isMachineName } from '../machine/model.ts';
import { complete, formatCompletion, type CompletionSpec, type CompletionSources } from './complete.ts';

/** The hidden command that completion scripts run at each Tab. */
export const COMPLETE_COMMAND = '__complete';

type CompletionPaths = {
  /** The file with the program's completion spec, written by build.mjs. */
  readonly specFile: string;
  /** The folder that contains `machines`. */
  readonly records: string;
  /** The folder that contains `images`. */
  readonly home: string;
};

/**
 * Answers `__complete [--new] -- WORDS`. The last word is the one at the cursor; `--new` stands for an empty one, which
 * some shells can't pass. On any failure the answer offers nothing, since completion can't show an error.
 */
export function runCompletion(argv: readonly string[], { specFile, records, home }: CompletionPaths): string {
  const isNew = argv[0] === '--new';
  const args = isNew ? argv.slice(1) : argv;
  const words = [...(args[0] === '--' ? args.slice(1) : args), ...(isNew ? [''] : [])];
  try {
    const spec = JSON.parse(readFileSync(specFile, 'utf8')) as CompletionSpec;
    return formatCompletion(complete(spec, words, completionSourcesIn(records, home)));
  } catch {
    return formatCompletion({ candidates: [] });
  }
}

/** Lists machines and images by the names of their folders, without opening records. */
function completionSourcesIn(records: string, home: string): CompletionSources {
  const machines = join(records, 'machines');
  return {
    listMachines: () =>
      listNames(machines)
        .filter(isMachineName)
        // A folder without a record may be left from a create that was interrupted at its very start.
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
