import { expect, test } from 'vitest';
import { bundleModule, startScript } from '../fakes/script-process.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

test.each([
  ['waits for something that never comes', 'await new Promise(() => {});', 'The command ended without a result', 1],
  ['finishes', 'process.exitCode = 0; process.exit();', undefined, 0],
  ['finishes with a status of its own', 'process.exitCode = 6; process.exit();', undefined, 6],
])('a run that %s has the right exit status', async (_what, work, line, status) => {
  await using folder = await createTemporaryFolder();
  const module = await bundleModule('terminal/unfinished-run.ts', folder.path);
  const script = `
    import { failUnlessFinished } from ${JSON.stringify(module)};
    failUnlessFinished((error) => {
      console.log(error.message);
      return 1;
    });
    // As the programs do it: the file that Node starts imports the one that works.
    void (async () => { ${work} })();`;
  const child = await startScript(script, folder.path);
  expect(await child.readLine()).toBe(line);
  expect(await child.ended).toBe(status);
});
