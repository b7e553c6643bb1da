import { driverOptionSpecs } from '../machine-options/option-specs.ts';
import type { MachineSpec } from '../machine/model.ts';
import { toArgv, type OptionSpec } from '../machine/options.ts';
import { engineOptionSpecs, lifetimeOptionSpecs, sharingOptionSpecs } from '../machine/spec.ts';
import { formatCommandLine } from '../profiles/shell-env.ts';
import type { Cli } from './command.ts';

/** Returns the command line that creates this machine without a question. */
export function toRepeatCommand(
  spec: MachineSpec,
  use: boolean,
  createOptions: readonly OptionSpec[],
  { program, world: { computer } }: Pick<Cli, 'program' | 'world'>,
): string {
  const { name, driver, engine, lifetime, sharing, options } = spec;
  // Values of variables may be secret; their names remind the user to add the values.
  const env = engine.env.map((pair) => `${pair.split('=', 1)[0]}=…`);
  const argv = [
    'create',
    name,
    ...toArgv(createOptions, { driver, use }),
    ...toArgv(lifetimeOptionSpecs, lifetime ?? {}),
    ...toArgv(sharingOptionSpecs, sharing ?? {}),
    ...toArgv(driverOptionSpecs[driver] ?? [], options),
    ...toArgv(engineOptionSpecs, { ...engine, env }),
  ];
  return formatCommandLine([program, ...argv], computer);
}

/** Returns lines that repeat the answers of the wizard: as a command for scripts, and as a machines.yaml. */
export async function formatRepeatHints(spec: MachineSpec, repeatCommand: string): Promise<readonly string[]> {
  const { toYaml } = await import('../fleet/to-yaml.ts');
  const yaml = toYaml(spec).trimEnd().split('\n');
  return [
    `To repeat this without questions: ${repeatCommand}`,
    'Or use slipway apply with this machines.yaml:',
    ...yaml.map((line) => `  ${line}`),
  ];
}
