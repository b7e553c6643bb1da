import { describe, expect, test } from 'vitest';
import type { CreateCall, FirstBootConfig, LocalDriver, Target } from '../../src/drivers/contract.ts';

/** The conformance tests need this of a driver that creates machines. */
export type ConformanceSubject = {
  readonly driver: LocalDriver;
  readonly options: Readonly<Record<string, unknown>>;
  readonly boot: FirstBootConfig;
  readonly call: CreateCall;
  /** Returns a call under which n requests that create or start something succeed, and all later ones fail. */
  readonly failAfter: (n: number) => Promise<CreateCall>;
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
      const { machines } = subject.driver;
      const failingCreate = async (target: Target<Record<string, unknown>>, n: number): Promise<boolean> =>
        machines.create(target, subject.boot, await subject.failAfter(n)).then(
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
