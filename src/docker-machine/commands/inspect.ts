import { reasonOf } from '../../errors.ts';
import { oldFunctions, parseTemplate } from '../../go-template/index.ts';
import { defineOld } from '../command.ts';
import { configOf } from '../config.ts';
import { Failure } from '../failure.ts';
import { machineNamed, nameIn } from '../machines.ts';

export const inspect = defineOld({
  name: 'inspect',
  summary: 'Inspect information about a machine',
  operands: '[arg...]',
  flags: [
    { names: ['format', 'f'], kind: 'text', usage: 'Format the output using the given go template.', initial: '' },
  ],
  async run(call) {
    const { out, values, world } = call;
    const config = await configOf(await machineNamed(await nameIn(call), world), call);
    const format = String(values.format ?? '');
    out(format === '' ? JSON.stringify(config, null, 4) : rendered(format, config));
  },
});

function rendered(format: string, config: unknown): string {
  try {
    return parseTemplate(format, oldFunctions).render(config);
  } catch (error) {
    throw new Failure(`template parsing error: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}
