import type { ProgressView } from '../terminal/progress-views.ts';
import { sanitizeLine } from '../terminal/terminal-text.ts';

/** The lines that the old tool prints of what it does, by the step of ours that does it. */
const STEP_LINES: Readonly<Record<string, string>> = {
  connect: 'Waiting for SSH to be available...',
  facts: 'Detecting the provisioner...',
  'install-engine': 'Installing Docker...',
  'configure-engine': 'Setting Docker configuration on the remote daemon...',
  address: 'Waiting for machine to be running, this may take a few minutes...',
  boot: 'Waiting for machine to be running, this may take a few minutes...',
  verify: 'Checking connection to Docker...',
};

/** For pipes and logs: a line a step on stdout, as its callers read it; what hosts say belongs to --debug. */
export function createLineView(out: (line: string) => void, debug: (line: string) => void): ProgressView {
  return {
    addMachine: () => {},
    finishMachine: () => {},
    close: () => {},
    note: (text, machine) => out(`${machine === undefined ? '' : `(${machine}) `}${sanitizeLine(text)}`),
    async run(step, work) {
      const line = STEP_LINES[step.id];
      const about = step.machine === undefined ? '' : `(${step.machine}) `;
      if (line !== undefined) out(line);
      else debug(`${about}${sanitizeLine(step.title)}`);
      return await work((text) => debug(`${about}DBG | ${sanitizeLine(text)}`));
    },
  };
}
