import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { startHost } from '../bed/bed-host.ts';
import { hostFlags, describeOnBed, createUser, expectSuccess } from './test-user.ts';
import { expectFailure } from './assertions.ts';

const execFileAsync = promisify(execFile);
const PAGE_BYTES = 4096;

/** Creates a disk of a quarter of a megabyte that can be filled up to the last pages. */
async function mountSmallDisk(folder: string) {
  await mkdir(folder);
  await execFileAsync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', folder]);
  const ballast = join(folder, 'ballast');
  return {
    async fillUpTo(pagesLeft: number): Promise<void> {
      await rm(ballast, { force: true });
      const { bavail, bsize } = await statfs(folder);
      await writeFile(ballast, Buffer.alloc(bavail * bsize - pagesLeft * PAGE_BYTES));
    },
    async free(): Promise<void> {
      await rm(ballast, { force: true });
    },
    async [Symbol.asyncDispose](): Promise<void> {
      await execFileAsync('umount', [folder]);
    },
  };
}

describeOnBed('a full disk on this computer', () => {
  test('is reported for any file, loses nothing, and the next run succeeds once there is space', async () => {
    await using host = await startHost({ suite: 'bookworm', engine: true });
    await using user = await createUser();
    const folder = join(user.home, 'disk');
    await using disk = await mountSmallDisk(folder);
    const env = { SLIPWAY_HOME: join(folder, 'slipway'), DOCKER_CONFIG: join(folder, 'docker') };
    const slipway = (...argv: readonly string[]) => user.slipwayWith({ env }, ...argv);
    const docker = (...argv: readonly string[]) => user.run('docker', argv, { env });

    const proxy = ['--engine-env', 'NO_PROXY=localhost'];
    await expectSuccess(slipway('create', 'first', ...hostFlags(host), '--engine-label', 'round=0', ...proxy));
    const { stdout: record } = await expectSuccess(slipway('inspect', 'first'));

    await disk.fillUpTo(0);
    const refusedChange = await expectFailure(slipway('provision', 'first', '--engine-label', 'round=1'));
    expect(refusedChange.status).toBe(10);
    expect(refusedChange.sentence).toContain('could not be written: the disk is full');
    expect(refusedChange.hint).toBe('No data was lost: fix the cause, then run the same command again');
    expect((await expectSuccess(slipway('inspect', 'first'))).stdout).toBe(record);
    expect(JSON.parse((await expectSuccess(slipway('ls', '--json'))).stdout)).toMatchObject([
      { name: 'first', state: 'running' },
    ]);
    expect((await expectFailure(slipway('rm', 'first'))).status).toBe(10);
    await expectSuccess(docker('--context', 'first', 'version'));

    // The record and the values of the engine's variables are two files. There is room for one of them, or for none.
    const readValues = async (): Promise<string> => {
      const files = await readdir(join(env.SLIPWAY_HOME, 'machines', 'first'));
      return (
        await Promise.all(files.filter((file) => file.startsWith('engine-env.')).map(readFirstMachineFile))
      ).join();
    };
    const readFirstMachineFile = (file: string): Promise<string> =>
      readFile(join(env.SLIPWAY_HOME, 'machines', 'first', file), 'utf8');
    const values = await readValues();
    for (const pagesLeft of [0, 1]) {
      await disk.fillUpTo(pagesLeft);
      const refused = await expectFailure(slipway('provision', 'first', '--engine-env', 'NO_PROXY=other'));
      expect(refused.status).toBe(10);
      expect([(await expectSuccess(slipway('inspect', 'first'))).stdout, await readValues()]).toEqual([record, values]);
    }

    // One more page each time, until all of a machine's files fit.
    const unwrittenFiles = new Set<string>();
    for (let pagesLeft = 0; ; pagesLeft += 1) {
      expect(pagesLeft).toBeLessThan(40);
      await disk.fillUpTo(pagesLeft);
      const outcome = await slipway('create', 'second', ...hostFlags(host), ...proxy);
      if (outcome.code === 0) break;
      const full = await expectFailure(outcome);
      expect(full.status).toBe(10);
      const rows = JSON.parse((await expectSuccess(slipway('ls', '--json'))).stdout) as readonly {
        name: string;
        state: string;
      }[];
      expect(rows.map(({ state }) => state)).not.toContain('broken');
      expect((await expectSuccess(slipway('inspect', 'first'))).stdout).toBe(record);
      await disk.free();
      const recorded = rows.some(({ name }) => name === 'second');
      const file = full.sentence
        .replace(/ could not be written.*/, '')
        .replace(/.*\//, '')
        .replace(/\.[0-9a-f]{12}\./, '.');
      if (!unwrittenFiles.has(file)) {
        unwrittenFiles.add(file);
        await expectSuccess(slipway('create', 'second', ...(recorded ? [] : [...hostFlags(host), ...proxy])));
        await expectSuccess(docker('--context', 'second', 'version'));
        await expectSuccess(slipway('rm', 'second'));
      } else if (recorded) await expectSuccess(slipway('rm', 'second'));
    }
    // The disk was full at each kind of file: the record, the keys and the docker context.
    expect([...unwrittenFiles]).toEqual(expect.arrayContaining(['engine-env.json', 'machine.json', 'meta.json']));
    expect([...unwrittenFiles].some((name) => name.endsWith('key.pem'))).toBe(true);
  });
});
