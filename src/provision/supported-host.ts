import { SlipwayError } from '../errors.ts';
import type { Distro } from './distros/distro.ts';
import { distros } from './distros/registry.ts';
import type { Facts } from './facts.ts';
import { defaultServiceManager, serviceManagers } from './init/registry.ts';
import type { ServiceManager } from './init/service-manager.ts';

/** The families of a host. They determine how an engine is installed and run there. */
export type HostFamily = { readonly distro: Distro; readonly serviceManager: ServiceManager };

/** Returns the families of the host. Throws OS_UNSUPPORTED if Slipway does not support one of them. */
export function requireSupportedHost(facts: Facts, where: string): HostFamily {
  const serviceManager = serviceManagers.find((candidate) => candidate.isRecognized(facts));
  if (!serviceManager) {
    const names = formatChoice(serviceManagers);
    throw new SlipwayError(
      'OS_UNSUPPORTED',
      `${where} (${facts.os.name}) does not run ${names}, which Slipway needs to run the engine`,
      { hint: `Use a host whose first process is ${names}` },
    );
  }
  const distro = findDistro(facts);
  if (!distro) {
    throw new SlipwayError(
      'OS_UNSUPPORTED',
      `${where} runs ${facts.os.name || 'an unknown system'}; Slipway supports ${distros.map(({ label }) => label).join('; ')}`,
      {
        hint: 'Use such a host, or connect to an engine that already runs there: slipway create NAME --driver none --none-url tcp://…',
      },
    );
  }
  return { distro, serviceManager };
}

/** Returns the host's distribution; undefined if Slipway does not support it. */
export function findDistro(facts: Facts): Distro | undefined {
  return distros.find((candidate) => candidate.isRecognized(facts));
}

/**
 * Returns the host's service manager, or the default one. The default is for steps on an unsupported host: their
 * scripts fail there with a reason.
 */
export function serviceManagerOf(facts: Facts | undefined): ServiceManager {
  const recognized = facts && serviceManagers.find((candidate) => candidate.isRecognized(facts));
  return recognized ?? defaultServiceManager;
}

function formatChoice(labeled: readonly { readonly label: string }[]): string {
  return labeled.map(({ label }) => label).join(' or ');
}
