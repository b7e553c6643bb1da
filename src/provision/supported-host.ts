import { SlipwayError } from '../errors.ts';
import type { Distro } from './distros/distro.ts';
import { distros } from './distros/registry.ts';
import type { Facts } from './facts.ts';
import { defaultServiceManager, serviceManagers } from './init/registry.ts';
import type { ServiceManager } from './init/service-manager.ts';

/** What decides how an engine is installed on a host, and how it runs there. */
export type HostFamily = { readonly distro: Distro; readonly serviceManager: ServiceManager };

/**
 * Returns the families of the host. Throws OS_UNSUPPORTED where its service manager or its distribution is not
 * supported.
 */
export function requireSupportedHost(facts: Facts, where: string): HostFamily {
  const serviceManager = serviceManagers.find((known) => known.isRecognized(facts));
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

/** Returns the distribution that the facts are of; undefined where none is recognized. */
export function findDistro(facts: Facts): Distro | undefined {
  return distros.find((known) => known.isRecognized(facts));
}

/**
 * Returns the service manager that the facts are of, or the default one. For steps on a host that is not
 * supported: their scripts fail there and say why.
 */
export function serviceManagerOf(facts: Facts | undefined): ServiceManager {
  const recognized = facts && serviceManagers.find((known) => known.isRecognized(facts));
  return recognized ?? defaultServiceManager;
}

function formatChoice(labeled: readonly { readonly label: string }[]): string {
  return labeled.map(({ label }) => label).join(' or ');
}
