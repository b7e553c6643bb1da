import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { lowerPriority, startInBackground } from '../computer/child-process.ts';
import type { MachineSpec } from '../machine/model.ts';
import { toArgv } from '../machine/options.ts';
import { driverOptionSpecs } from '../machine-options/option-specs.ts';

/** The variable that names what has to be there still for a spare to be wanted by who asked for it. */
export const SPARE_LOG_VARIABLE = 'SLIPWAY_SPARE_LOG';

/** What makes one spare of this machine's kind; none where one is there. */
export function prewarmArgv({ driver, options }: Pick<MachineSpec, 'driver' | 'options'>): readonly string[] {
  // Whoever takes it says at which ports it is reached.
  const kind = { ...options, sshPort: undefined, enginePort: undefined, warm: undefined };
  // Also what is as it would be anyhow: a variable of the environment must not make it another.
  const infos = (driverOptionSpecs[driver] ?? []).map((info) => ({ ...info, default: undefined }));
  return ['image', 'warm', '--count', '1', ...toArgv(infos, kind)];
}

/** By this program, which nobody waits for, behind everything else that this computer has to do. */
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
      // Whoever clears up before it has begun takes its log away, and with it the wish.
      env: { ...env, [SPARE_LOG_VARIABLE]: path },
    });
    child.once('error', () => {});
    if (child.pid !== undefined) await lowerPriority(child.pid);
  } finally {
    await log.close();
  }
}
