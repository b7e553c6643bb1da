import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { lowerPriority, startInBackground } from '../computer/child-process.ts';
import type { MachineSpec } from '../machine/model.ts';
import { toArgv } from '../machine/options.ts';
import { driverOptionSpecs } from '../machine-options/option-specs.ts';

/** The variable that names the log of a request for a spare; if the log is deleted, the spare is no longer wanted. */
export const SPARE_LOG_VARIABLE = 'SLIPWAY_SPARE_LOG';

/** Returns the arguments of the command that creates a spare of this machine's kind, unless one exists already. */
export function prewarmArgv({ driver, options }: Pick<MachineSpec, 'driver' | 'options'>): readonly string[] {
  // The create that takes the spare chooses its ports.
  const kind = { ...options, sshPort: undefined, enginePort: undefined, warm: undefined };
  // Defaults are passed too, so that a variable of the environment can't change the kind.
  const specs = (driverOptionSpecs[driver] ?? []).map((spec) => ({ ...spec, default: undefined }));
  return ['image', 'warm', '--count', '1', ...toArgv(specs, kind)];
}

/** Starts this program in the background at low priority to create a spare, and does not wait for it. */
export async function startPrewarm(
  spec: MachineSpec,
  [node, script]: readonly [string, string],
  env: Readonly<Record<string, string | undefined>>,
  home: string,
): Promise<void> {
  const folder = join(home, 'spares');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, 'last.log');
  const log = await open(path, 'w', 0o600);
  try {
    const child = startInBackground(node, [script, ...prewarmArgv(spec)], {
      output: log,
      // A cleanup before the process has started deletes the log, which withdraws the request.
      env: { ...env, [SPARE_LOG_VARIABLE]: path },
    });
    child.once('error', () => {});
    if (child.pid !== undefined) await lowerPriority(child.pid);
  } finally {
    await log.close();
  }
}
