import type { ServiceManager } from './service-manager.ts';
import { systemd } from './systemd.ts';

/** One line per service manager. */
export const serviceManagers: readonly ServiceManager[] = [systemd];

/**
 * Used where no facts are known: the images that Slipway builds run it, as does every host that could be provisioned so
 * far.
 */
export const defaultServiceManager = systemd;
