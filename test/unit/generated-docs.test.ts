import { format } from 'prettier';
import { expect, test } from 'vitest';
import { generateOptionsPage } from '../../src/cli/options-page.ts';
import { eventsSchema } from '../../src/terminal/event-schema.ts';
import { generateManual } from '../../src/cli/man-page.ts';
import { renderDockerMachineManual, renderDockerMachinePage } from '../../src/docker-machine/manual.ts';
import { fleetJsonSchema } from '../../src/fleet/file-schema.ts';

test('docs/options.md says what the declarations say (npm run docs writes it anew)', async () => {
  await expect(await generateOptionsPage()).toMatchFileSnapshot('../../docs/options.md');
});

test.each([
  ['docs/docker-machine-commands.md', renderDockerMachinePage],
  ['man/slipway.1', generateManual],
  ['man/docker-machine.1', renderDockerMachineManual],
])('%s says what the declarations say (npm run docs writes it anew)', async (file, written) => {
  await expect(await written()).toMatchFileSnapshot(`../../${file}`);
});

test('events.schema.json says what the events of --json are typed by (npm run docs writes it anew)', async () => {
  const text = await format(JSON.stringify(eventsSchema()), { parser: 'json', printWidth: 120 });
  await expect(text).toMatchFileSnapshot('../../events.schema.json');
});

test('machines.schema.json says what may stand in a file of machines (npm run docs writes it anew)', async () => {
  const text = await format(JSON.stringify(fleetJsonSchema()), { parser: 'json', printWidth: 120 });
  await expect(text).toMatchFileSnapshot('../../machines.schema.json');
});
