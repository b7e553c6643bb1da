import type { ServiceManager } from './service-manager.ts';
import { systemdTimers } from './systemd-timers.ts';
import { dockerUnit } from './systemd-unit.ts';

export const systemd: ServiceManager = {
  name: 'systemd',
  label: 'systemd',
  scripts: {
    facts: 'init/systemd/facts.sh',
    services: 'init/systemd/services.sh',
    host: 'init/systemd/host.sh',
  },
  isRecognized: ({ serviceManager }) => serviceManager === 'systemd',
  endCommandOf: (unit, isUsers) => `${isUsers ? 'systemctl --user' : 'sudo systemctl'} disable --now ${unit}`,
  engine: dockerUnit,
  timers: systemdTimers,
};
