import type { DriverManifest } from '../drivers/contract.ts';
import { loadDriver, targetOf } from '../drivers/registry.ts';
import type { Machine } from '../machine/model.ts';
import { LOOPBACK } from '../provision/certificates.ts';
import type { DaemonSettings } from '../provision/daemon-json.ts';
import { describeOpenAddresses } from '../provision/impact-notes.ts';
import { planProvision } from '../provision/plan.ts';
import type { Plan, Step } from '../provision/step.ts';
import { loadOrRenewCertificates } from './credentials.ts';
import { renderFirstBootFiles, renderFirstBootTimers } from './first-boot.ts';
import { requireIdleStopSupported } from './guards.ts';
import { explainConnectionError, gatherHostFacts, openSession, previewPlan } from './host-session.ts';
import { loadHostConfig } from './host-config.ts';
import { resolveDeadline } from './lifetime.ts';
import { resolveHost } from './resolve-host.ts';
import type { ValidSpec } from './validate-spec.ts';
import type { World } from './world.ts';

/**
 * Plans what `create` or `provision` would do for this spec, and changes nothing: it writes no record and no file. The
 * remote commands only gather facts and, before an installation, simulate it. `before` is the machine's record, if
 * there is one.
 */
export async function planDryRun(
  { spec, engineSettings }: ValidSpec,
  before: Machine | undefined,
  world: World,
  { resetTtl = false }: { readonly resetTtl?: boolean } = {},
): Promise<Plan> {
  const driver = await loadDriver(spec.driver);
  requireIdleStopSupported(spec, before?.onShutdown, driver);
  const planned = { spec, ...resolveDeadline(before, spec, resetTtl || before?.phase !== 'ready', world.now()) };
  if (driver.kind !== 'existing' && before?.phase !== 'ready')
    return [await planCreateStep(planned, engineSettings, driver, world)];
  const host = await resolveHost(before ? { ...before, spec } : { version: 1, phase: 'creating', spec }, driver, world);
  if (!host.ssh) return [];
  const certificates = await loadOrRenewCertificates(spec, host.address, world);
  const { session } = await openSession(host.ssh, world).catch((error: unknown) => {
    throw explainConnectionError(error, { spec });
  });
  await using _session = session;
  const facts = await gatherHostFacts(session, host.ssh, spec, world);
  const { address } = host;
  for (const note of describeOpenAddresses(facts, address)) world.progress.note(note);
  const config = await loadHostConfig({ machine: planned, engineSettings, address, certificates, facts }, world);
  return await previewPlan(planProvision({ ...config, facts }), { session, facts, address }, world);
}

/** Plans the creation of a machine that gets its configuration before its first start, as one step. */
async function planCreateStep(
  planned: Pick<Machine, 'spec' | 'deadline'>,
  engineSettings: DaemonSettings,
  driver: DriverManifest,
  world: World,
): Promise<Step> {
  const { spec } = planned;
  const options = Object.entries(targetOf(driver, spec).options).filter(([, value]) => value !== undefined);
  return {
    id: 'create',
    title: `Create ${spec.name} (${driver.name}) with these files, written before its first start`,
    template: '',
    variables: Object.fromEntries(options.map(([key, value]) => [key.replaceAll(/[A-Z]/g, '_$&'), String(value)])),
    files: driver.userDataIsPublic
      ? (await renderFirstBootTimers(planned, world)).files
      : await renderFirstBootFiles(
          planned,
          engineSettings,
          await loadOrRenewCertificates(spec, LOOPBACK, world),
          world,
        ),
  };
}
