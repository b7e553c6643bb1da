import type { ProgressView } from '../terminal/progress-views.ts';
import { sanitizeLine } from '../terminal/terminal-text.ts';

/** Docker Machine's lines about its progress, by the id of Slipway's step. */
const STEP_LINES: Readonly<Record<string, string>> = {
  connect: 'Waiting for SSH to be available...',
  facts: 'Detecting the provisioner...',
  'install-engine': 'Installing Docker...',
  'configure-engine': 'Setting Docker configuration on the remote daemon...',
  address: 'Waiting for machine to be running, this may take a few minutes...',
  boot: 'Waiting for machine to be running, this may take a few minutes...',
  verify: 'Checking connection to Docker...',
};

/**
 * Shows progress in pipes and logs: one line per step with `out`, as scripts read it. Output of hosts goes to `debug`.
 */
export function createLineView(out: (line: string) => void, debug: (line: string) => void): ProgressView {
  return {
    addMachine: () => {},
    finishMachine: () => {},
    close: () => {},
    note: (text, machine) => out(`${machine === undefined ? '' : `(${machine}) `}${sanitizeLine(text)}`),
    async run(step, work) {
      const line = STEP_LINES[step.id];
      const prefix = step.machine === undefined ? '' : `(${step.machine}) `;
      if (line !== undefined) out(line);
      else debug(`${prefix}${sanitizeLine(step.title)}`);
      return await work((text) => debug(`${prefix}DBG | ${sanitizeLine(text)}`));
    },
  };
}
