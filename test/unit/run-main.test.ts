import { expect, test } from 'vitest';
import { bundleModule, startScript } from '../fakes/script-process.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

test.each([
  ['waits for something that never comes', 'new Promise(() => {})', 'The command ended without a result', 9],
  ['fails', "Promise.reject(new Error('no'))", 'no', 9],
  ['finishes', 'Promise.resolve(0)', undefined, 0],
  ['finishes with a status of its own', 'Promise.resolve(6)', undefined, 6],
  ['leaves a timer behind', 'new Promise((resolve) => setInterval(() => resolve(0), 10))', undefined, 0],
])('a run that %s has the right exit status', async (_what, work, line, status) => {
  await using folder = await createTemporaryFolder();
  const module = await bundleModule('terminal/run-main.ts', folder.path);
  const script = `
    import { runMain } from ${JSON.stringify(module)};
    // As the programs do it: the file that Node starts imports the one that works.
    void runMain(() => ${work}, async ({ message }) => {
      console.log(message);
      return 9;
    });`;
  const child = await startScript(script, folder.path);
  expect(await child.readLine()).toBe(line);
  expect(await child.ended).toBe(status);
});
