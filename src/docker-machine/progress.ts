import type { View } from '../terminal/progress.ts';
import { printable } from '../terminal/printable.ts';

/** The lines that the old tool prints of what it does, by the step of ours that does it. */
const LINES: Readonly<Record<string, string>> = {
  connect: 'Waiting for SSH to be available...',
  facts: 'Detecting the provisioner...',
  'install-engine': 'Installing Docker...',
  'configure-engine': 'Setting Docker configuration on the remote daemon...',
  address: 'Waiting for machine to be running, this may take a few minutes...',
  boot: 'Waiting for machine to be running, this may take a few minutes...',
  verify: 'Checking connection to Docker...',
};

/** For pipes and logs: a line a step on stdout, as its callers read it; what hosts say belongs to --debug. */
export function oldView(out: (line: string) => void, debug: (line: string) => void): View {
  return {
    expect: () => {},
    left: () => {},
    close: () => {},
    note: (text, machine) => out(`${machine === undefined ? '' : `(${machine}) `}${printable(text)}`),
    async run(step, work) {
      const line = LINES[step.id];
      const about = step.machine === undefined ? '' : `(${step.machine}) `;
      if (line !== undefined) out(line);
      else debug(`${about}${printable(step.title)}`);
      return await work((text) => debug(`${about}DBG | ${printable(text)}`));
    },
  };
}
