import type { Facts } from './facts.ts';

/** dockerd's command line in its unit, without the places where it listens, and those places. */
export type EngineCommand = { readonly line: string; readonly sockets: readonly string[] };

/**
 * For an engine that is yet to be installed: right for Debian's, Ubuntu's and Docker's own packages alike. systemd looks the
 * name up in its own search path, and leaves out a variable that nobody set.
 */
const TO_COME: EngineCommand = {
  line: 'dockerd --containerd=/run/containerd/containerd.sock $DOCKER_OPTS',
  sockets: ['fd://'],
};
const OUR_DROP_IN = '/etc/systemd/system/docker.service.d/50-slipway.conf';

/** From the unit that is there, unless the engine came after our drop-in and runs with it. */
export function commandOf({ unit }: Pick<Facts, 'unit'>): EngineCommand {
  const { ours, others } = filesOf(unit.text);
  const present = commandsIn(others).at(-1);
  if (present === undefined || commandsIn(ours).includes(TO_COME.line)) return TO_COME;
  return splitSockets(present);
}

/** `systemctl cat` prints each file behind a comment with its path; our own drop-in must not feed itself. */
function filesOf(unit: string): { readonly ours: string; readonly others: string } {
  const files = unit.replaceAll('\\\n', ' ').split(/^(?=# \/)/m);
  const isOurs = (file: string): boolean => file.startsWith(`# ${OUR_DROP_IN}`);
  return { ours: files.filter(isOurs).join(''), others: files.filter((file) => !isOurs(file)).join('') };
}

function commandsIn(unit: string): readonly string[] {
  return unit
    .split('\n')
    .filter((line) => line.startsWith('ExecStart='))
    .map((line) => line.slice('ExecStart='.length).trim())
    .filter((line) => line !== '');
}

function splitSockets(command: string): EngineCommand {
  const sockets: string[] = [];
  const kept: string[] = [];
  const words = command.split(/\s+/);
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] ?? '';
    const inline = /^(?:-H=?|--host=)(.+)$/.exec(word)?.[1];
    if (word === '-H' || word === '--host') sockets.push(words[(index += 1)] ?? '');
    else if (inline !== undefined) sockets.push(inline);
    else kept.push(word);
  }
  return { line: kept.join(' '), sockets };
}

export function dropIn(template: string, { line }: EngineCommand, environmentFile: string | undefined): string {
  return `${template.trimEnd()}\nExecStart=${line}\n${environmentFile === undefined ? '' : `EnvironmentFile=${environmentFile}\n`}`;
}
