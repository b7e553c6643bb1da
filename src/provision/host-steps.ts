import type { Facts } from './facts.ts';
import type { Step } from './step.ts';
import { serviceManagerOf } from './supported-host.ts';

/** Returns the step that replaces the bootstrap host key of the SSH server with the permanent one. */
export function planHostKeyReplacement(key: { readonly private: string; readonly public: string }, facts: Facts): Step {
  return {
    id: 'host-key',
    title: 'Replace the bootstrap SSH host key',
    template: 'host-key.sh',
    scripts: [serviceManagerOf(facts).scripts.services, 'host-key.sh'],
    variables: {},
    files: [
      { path: 'private', mode: '600', content: key.private },
      { path: 'public', mode: '644', content: `${key.public}\n` },
    ],
  };
}

/** Returns the step that reboots the host a moment after the step ends. */
export function planReboot(facts: Facts): Step {
  return {
    id: 'reboot',
    title: 'Reboot the host',
    template: 'reboot.sh',
    scripts: [serviceManagerOf(facts).scripts.services, 'reboot.sh'],
    variables: {},
    files: [],
  };
}
