import { cp, readdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { openDockerMachineStore } from '../../src/docker-machine/docker-machine-store.ts';
import { openStore } from '../../src/machine/store.ts';
import { runProgram, type ProgramResult } from '../fakes/run-program.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

const slipway = fileURLToPath(new URL('../../dist/slipway.js', import.meta.url));
const dockerMachine = fileURLToPath(new URL('../../dist/docker-machine.js', import.meta.url));

/** Kills a process before its change of the file system with the number KILL_AT. */
const KILLER = `
  import fs from 'node:fs/promises';
  import { syncBuiltinESMExports } from 'node:module';
  let left = Number(process.env.KILL_AT);
  for (const name of ['rename', 'rm', 'link', 'truncate']) {
    const change = fs[name];
    fs[name] = async (...call) => {
      left -= 1;
      if (left === 0) process.kill(process.pid, 'SIGKILL');
      return change(...call);
    };
  }
  syncBuiltinESMExports();`;

test.skipIf(process.platform === 'win32')(
  'an import that is killed before any change of a file is continued by the same command, and loses nothing',
  async () => {
    await using folder = await createTemporaryFolder();
    const socket = join(folder.path, 'engine.sock');
    const engine = createServer((_request, response) => {
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ Version: '28.0.0', ApiVersion: '1.48' }));
    }).listen(socket);
    await once(engine, 'listening');
    try {
      await writeFile(join(folder.path, 'killer.mjs'), KILLER);
      const run = (home: string, program: string, argv: readonly string[], env = {}): Promise<ProgramResult> =>
        runProgram(process.execPath, [program, ...argv], { env: { HOME: home, PATH: process.env.PATH, ...env } });
      const original = join(folder.path, 'original');
      const created = await run(original, dockerMachine, [
        'create',
        '-d',
        'none',
        '--url',
        `unix://${socket}`,
        '--engine-env',
        'NO_PROXY=a,b',
        'web',
      ]);
      expect(created).toMatchObject({ code: 0 });

      const storesOf = (home: string) => ({
        old: openDockerMachineStore(join(home, '.docker', 'machine')),
        new: openStore(join(home, '.slipway')),
      });
      const { spec } = await storesOf(original).old.read('web');
      let kills = 0;
      for (; ; kills += 1) {
        const home = join(folder.path, `home-${kills}`);
        await cp(original, home, { recursive: true });
        const stores = storesOf(home);
        const killer = { NODE_OPTIONS: `--import=${join(folder.path, 'killer.mjs')}`, KILL_AT: String(kills + 1) };
        // A signal is no exit status, so the call rejects.
        const first = await run(home, slipway, ['import', 'web'], killer).catch(() => ({ code: 137 }));
        const kept = [await stores.old.find('web'), await stores.new.find('web')].filter(Boolean);
        expect(kept.length, `killed at change ${kills + 1}`).toBeGreaterThan(0);
        for (const machine of kept) expect(machine?.spec).toMatchObject({ id: spec.id, engine: spec.engine });
        if (first.code !== 0 && (await stores.old.find('web')) !== undefined)
          expect(await run(home, slipway, ['import', 'web'])).toMatchObject({ code: 0 });
        expect((await stores.new.read('web')).spec).toMatchObject({ id: spec.id, engine: spec.engine });
        // The next removal in the old store deletes what a killed one left there.
        expect(await stores.old.listNames()).toEqual([]);
        const places = await readdir(join(home, '.docker', 'machine', 'machines'));
        expect(places.filter((entry) => !entry.startsWith('.removed-'))).toEqual([]);
        if (first.code === 0) break;
      }
      expect(kills).toBeGreaterThan(5);
    } finally {
      engine.close();
    }
  },
  240_000,
);
