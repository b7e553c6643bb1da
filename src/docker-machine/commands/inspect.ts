import { reasonOf } from '../../errors.ts';
import { dockerMachineFunctions, parseTemplate } from '../../go-template/index.ts';
import { defineDockerMachineCommand } from '../docker-machine-command.ts';
import { loadConfigJson } from '../load-config-json.ts';
import { DockerMachineError } from '../docker-machine-error.ts';
import { readMachine, resolveMachineName } from '../machine-arguments.ts';

export const inspect = defineDockerMachineCommand({
  name: 'inspect',
  summary: 'Inspect information about a machine',
  argsUsage: '[arg...]',
  flags: [
    { names: ['format', 'f'], kind: 'text', usage: 'Format the output using the given go template.', defaultValue: '' },
  ],
  async run(call) {
    const { print, values, world } = call;
    const config = await loadConfigJson(await readMachine(await resolveMachineName(call), world), call);
    const format = String(values.format ?? '');
    print(format === '' ? JSON.stringify(config, null, 4) : renderTemplate(format, config));
  },
});

function renderTemplate(format: string, config: unknown): string {
  try {
    return parseTemplate(format, dockerMachineFunctions).render(config);
  } catch (error) {
    throw new DockerMachineError(`template parsing error: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}
