import { describe, expect, test } from 'vitest';
import {
  loadCode,
  type CloudDriver,
  type CreateCall,
  type DriverCall,
  type DriverManifest,
  type ExistingDriver,
  type FirstBootConfig,
  type LocalDriver,
  type Target,
} from '../../src/drivers/contract.ts';

/** The conformance tests need this of a driver that creates machines. */
export type ConformanceSubject = {
  readonly driver: LocalDriver | CloudDriver;
  readonly options: Readonly<Record<string, unknown>>;
  readonly boot: FirstBootConfig;
  readonly call: CreateCall;
  /**
   * Returns a call under which n requests that create or start something succeed, and all later ones fail. Absent for a
   * driver that sends no requests.
   */
  readonly failAfter?: (n: number) => Promise<CreateCall>;
  /** Counts what exists at the provider for machines of this id. */
  readonly countExisting: (id: string) => Promise<number>;
};

const WAIT_MS = 30_000;

/** Declares the tests that hold a driver to the contract. `open` prepares the subject of one test. */
export function describeConformance(
  name: string,
  open: () => Promise<ConformanceSubject & AsyncDisposable>,
  newId: () => string,
): void {
  const targetFor = ({ options }: ConformanceSubject): Target<Record<string, unknown>> => ({
    id: newId(),
    name: 'conformance',
    options,
  });

  describe(name, () => {
    describeDeclarations(async () => {
      await using subject = await open();
      return subject.driver;
    });

    test('reports a machine that was never created as missing, and removes nothing of it', async () => {
      await using subject = await open();
      const target = targetFor(subject);
      const { machines } = subject.driver;
      expect(await machines.inspect(target, subject.call)).toEqual({ state: 'missing' });
      await machines.remove(target, subject.call);
      expect(await subject.countExisting(target.id)).toBe(0);
    });

    test('creates one machine and removes it, even when each is called twice', async () => {
      await using subject = await open();
      const target = targetFor(subject);
      const { machines } = subject.driver;
      await machines.create(target, subject.boot, subject.call);
      await machines.create(target, subject.boot, subject.call);
      await waitUntilRunning(subject, target);
      expect(await subject.countExisting(target.id)).toBe(1);
      await machines.remove(target, subject.call);
      await machines.remove(target, subject.call);
      expect(await machines.inspect(target, subject.call)).toEqual({ state: 'missing' });
      expect(await subject.countExisting(target.id)).toBe(0);
    });

    test('stops, kills and starts a machine, and does nothing when it is already in that state', async () => {
      await using subject = await open();
      const target = targetFor(subject);
      const { machines, power } = subject.driver;
      if (!power) return;
      await machines.create(target, subject.boot, subject.call);
      await waitUntilRunning(subject, target);
      for (const turnOff of [
        async () => power.stop(target, { seconds: 1 }, subject.call),
        async () => power.kill(target, subject.call),
      ]) {
        await turnOff();
        await turnOff();
        expect((await machines.inspect(target, subject.call)).state).toBe('stopped');
        await power.start(target, subject.call);
        await power.start(target, subject.call);
        await waitUntilRunning(subject, target);
      }
      await machines.remove(target, subject.call);
      expect(await subject.countExisting(target.id)).toBe(0);
    });

    test('finishes a create that failed after any of its calls, and can remove what that create left', async () => {
      await using subject = await open();
      const { failAfter } = subject;
      const { machines } = subject.driver;
      if (!failAfter) return;
      const failingCreate = async (target: Target<Record<string, unknown>>, n: number): Promise<boolean> =>
        machines.create(target, subject.boot, await failAfter(n)).then(
          () => false,
          () => true,
        );
      let calls = 0;
      for (; ; calls += 1) {
        const [finished, removed] = [targetFor(subject), targetFor(subject)];
        const hasFailed = await failingCreate(finished, calls);
        await machines.create(finished, subject.boot, subject.call);
        await waitUntilRunning(subject, finished);
        expect(await subject.countExisting(finished.id)).toBe(1);
        await failingCreate(removed, calls);
        for (const target of [finished, removed]) await machines.remove(target, subject.call);
        expect(await subject.countExisting(finished.id)).toBe(0);
        expect(await subject.countExisting(removed.id)).toBe(0);
        if (!hasFailed) break;
      }
      // A create that never failed would have tested nothing.
      expect(calls).toBeGreaterThan(0);
    });

    test('of a cloud, resolves options once, and creates each machine of a batch once', async () => {
      await using subject = await open();
      const { machines, cloud } = subject.driver;
      if (!cloud) return;
      const first = targetFor(subject);
      const options = await cloud.resolveOptions(first, subject.call);
      expect(await cloud.resolveOptions({ ...first, options }, subject.call)).toEqual(options);
      const batch = { id: newId(), size: 2 };
      const targets = [0, 1].map((index) => ({ ...targetFor(subject), options, batch: { ...batch, index } }));
      await cloud.createMany(targets, subject.boot, subject.call);
      await cloud.createMany(targets, subject.boot, subject.call);
      for (const target of targets) {
        await waitUntilRunning(subject, target);
        await cloud.allowCallerIp(target, subject.call);
      }
      expect(await subject.countExisting(batch.id)).toBe(2);
      for (const target of targets) await machines.remove(target, subject.call);
      expect(await subject.countExisting(batch.id)).toBe(0);
    });
  });
}

/** What the conformance tests need of a driver that connects to what exists. */
export type ExistingSubject = {
  readonly driver: ExistingDriver;
  /** As a user types them; the driver's schema parses them. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly call: DriverCall;
};

/** Holds a driver of what exists already to the contract: it answers from its options alone, and creates nothing. */
export function describeExistingConformance(name: string, { driver, options, call }: ExistingSubject): void {
  const target = { id: 'id-of-conformance', name: 'conformance', options: driver.options.parse(options) };

  describe(name, () => {
    describeDeclarations(async () => driver);

    test('accepts its options, and always returns the same host: one with SSH or with an engine', async () => {
      const { machines } = await loadCode(driver);
      await machines.validate?.(target, call);
      const found = await machines.inspect(target, call);
      expect(await machines.inspect(target, call)).toEqual(found);
      if (found.state !== 'running') throw new Error(`expected a running host, got ${found.state}`);
      const { address, ssh, engine } = found.host;
      expect(address).not.toBe('');
      expect([ssh, engine].filter((access) => access !== undefined)).toHaveLength(1);
    });

    test('creates and removes nothing, has no power over its host, and costs nothing', async () => {
      const code = await loadCode(driver);
      const { create, remove, prepare } = code.machines;
      expect([create, remove, prepare, code.power, code.cloud, code.cost, code.warmPool]).toEqual(
        Array.from({ length: 7 }, () => undefined),
      );
    });
  });
}

/** Checks what a driver of any kind declares. */
function describeDeclarations(load: () => Promise<DriverManifest>): void {
  test('declares a name for flags, and how each of its options changes', async () => {
    const manifest = await load();
    expect([manifest.name, ...(manifest.aliases ?? [])].filter((word) => !/^[a-z][a-z0-9]*$/.test(word))).toEqual([]);
    expect(manifest.summary).not.toBe('');
    const kinds = Object.keys(manifest.options.shape).map((key) => manifest.changeKindOf?.(key, 1, 2) ?? 'replace');
    expect(kinds.filter((kind) => !['live', 'restart', 'replace'].includes(kind))).toEqual([]);
  });

  test('loads code that has the members of its kind', async () => {
    const { kind, machines, cost, cloud } = await loadCode(await load());
    expect([machines.create !== undefined, machines.remove !== undefined, cost !== undefined]).toEqual(
      Array.from({ length: 3 }, () => kind !== 'existing'),
    );
    expect(cloud !== undefined).toBe(kind === 'cloud');
  });
}

async function waitUntilRunning(
  { driver, call }: ConformanceSubject,
  target: Target<Record<string, unknown>>,
): Promise<void> {
  await expect
    .poll(async () => (await driver.machines.inspect(target, call)).state, { timeout: WAIT_MS, interval: 100 })
    .toBe('running');
}
