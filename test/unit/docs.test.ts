import { format } from 'prettier';
import { expect, test } from 'vitest';
import { optionsPage } from '../../src/cli/docs.ts';
import { eventsSchema } from '../../src/terminal/events.ts';
import { manual } from '../../src/cli/manual.ts';
import { machineManual, machinePage } from '../../src/docker-machine/docs.ts';
import { jsonSchema } from '../../src/fleet/schema.ts';

test('docs/options.md says what the declarations say (npm run docs writes it anew)', async () => {
  await expect(await optionsPage()).toMatchFileSnapshot('../../docs/options.md');
});

test.each([
  ['docs/docker-machine-commands.md', machinePage],
  ['man/slipway.1', manual],
  ['man/docker-machine.1', machineManual],
])('%s says what the declarations say (npm run docs writes it anew)', async (file, written) => {
  await expect(await written()).toMatchFileSnapshot(`../../${file}`);
});

test('events.schema.json says what the events of --json are typed by (npm run docs writes it anew)', async () => {
  const text = await format(JSON.stringify(eventsSchema()), { parser: 'json', printWidth: 120 });
  await expect(text).toMatchFileSnapshot('../../events.schema.json');
});

test('machines.schema.json says what may stand in a file of machines (npm run docs writes it anew)', async () => {
  const text = await format(JSON.stringify(jsonSchema()), { parser: 'json', printWidth: 120 });
  await expect(text).toMatchFileSnapshot('../../machines.schema.json');
});
