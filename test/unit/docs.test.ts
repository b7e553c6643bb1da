import { expect, test } from 'vitest';
import { optionsPage } from '../../src/cli/docs.ts';

test('docs/options.md says what the declarations say (npm run docs writes it anew)', async () => {
  await expect(await optionsPage()).toMatchFileSnapshot('../../docs/options.md');
});
