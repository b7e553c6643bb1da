import type { ServiceManager } from './service-manager.ts';
import { systemd } from './systemd.ts';

/** One line per service manager. */
export const serviceManagers: readonly ServiceManager[] = [systemd];

/** The service manager if no facts are known. The images that Slipway builds use it, and so do all supported hosts. */
export const defaultServiceManager = systemd;
