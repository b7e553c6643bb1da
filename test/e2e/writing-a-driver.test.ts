import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { inject, test } from 'vitest';
import type { CreateCall, LocalDriver } from '../../src/drivers/contract.ts';
import { describeConformance, type ConformanceSubject } from '../contract/driver-conformance.ts';
import { computerWithPrograms, writeScript } from '../fakes/executable-scripts.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

const run = promisify(execFile);
const repository = fileURLToPath(new URL('../..', import.meta.url));
const engineAddress = process.env.SLIPWAY_BED_DOCKER_HOST || 'unix:///var/run/docker.sock';

/** Loads the driver of docs/writing-a-driver.md, from a file beside the sources that it imports. */
async function loadDocumentedDriver(): Promise<LocalDriver> {
  const page = await readFile(join(repository, 'docs/writing-a-driver.md'), 'utf8');
  const code = /```ts\n(\/\/ src\/drivers\/container\/driver\.ts\n[\s\S]*?)```/.exec(page)?.[1];
  if (code === undefined) throw new Error('docs/writing-a-driver.md has no code of src/drivers/container/driver.ts');
  const folder = await mkdtemp(join(repository, 'test/e2e/documented-driver-'));
  try {
    const file = join(folder, 'driver.ts');
    const source = code
      .replaceAll("'../../", "'../../../src/")
      .replaceAll("'../contract", "'../../../src/drivers/contract");
    await writeFile(file, source);
    return ((await import(pathToFileURL(file).href)) as { readonly container: LocalDriver }).container;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Prepares the documented driver with the engine of the test bed, and removes what a failed test leaves. */
async function openSubject(): Promise<ConformanceSubject & AsyncDisposable> {
  const folder = await createTemporaryFolder();
  const driver = await loadDocumentedDriver();
  const { stdout } = await run('sh', ['-c', 'command -v docker']);
  const docker = `${stdout.trim()} --host ${engineAddress}`;
  const callWith = (bin: string): CreateCall => ({
    computer: computerWithPrograms(bin),
    log: () => {},
    note: () => {},
    signal: new AbortController().signal,
    recordRequest: async () => {},
    clearRequest: async () => {},
  });
  await writeScript(join(folder.path, 'bin/docker'), `exec ${docker} "$@"`);
  /** Returns a call with a docker client that fails to create, copy or start anything after n such commands. */
  const failAfter = async (n: number): Promise<CreateCall> => {
    const failingFolder = await mkdtemp(join(folder.path, 'failing-'));
    const count = `ls ${failingFolder}/call.* | wc -l`;
    const body = `case $1 in create|cp|start) : >"${failingFolder}/call.$$"; [ "$(${count})" -le ${n} ] || exit 1 ;; esac`;
    await writeScript(join(failingFolder, 'bin/docker'), `${body}\nexec ${docker} "$@"`);
    return callWith(failingFolder);
  };
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', join(folder.path, 'host')]);
  const key = await readFile(join(folder.path, 'host'), 'utf8');
  const publicKey = (await readFile(join(folder.path, 'host.pub'), 'utf8')).trim();
  const listContainers = async (id: string): Promise<readonly string[]> => {
    const argv = ['--host', engineAddress, 'ps', '--all', '--quiet', '--filter', `name=slipway-container-${id}`];
    return (await run('docker', argv)).stdout.split('\n').filter(Boolean);
  };
  return {
    driver,
    options: { image: 'slipway-bed:trixie-bare' },
    boot: { authorizedKey: publicKey, hostKey: { private: key, public: publicKey }, enginePort: 2376, files: [] },
    call: callWith(folder.path),
    failAfter,
    countExisting: async (id) => (await listContainers(id)).length,
    async [Symbol.asyncDispose]() {
      const remaining = (await Promise.all(created.splice(0).map(listContainers))).flat();
      if (remaining.length > 0) await run('docker', ['--host', engineAddress, 'rm', '--force', ...remaining]);
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** The ids of the current test. Its subject removes what a failed test leaves. */
const created: string[] = [];
function newId(): string {
  const id = randomUUID();
  created.push(id);
  return id;
}

if (inject('bedReason') === undefined)
  describeConformance('the driver of docs/writing-a-driver.md', openSubject, newId);
else test.skip('the driver of docs/writing-a-driver.md: no hosts can start here', () => {});
