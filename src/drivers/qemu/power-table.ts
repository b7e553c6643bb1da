/**
 * What each command does with a VM, by the condition of the VM. A guest's work and a suspended memory are the user's:
 * only the actions in this table end a QEMU process or delete a memory file, and `end-vm.ts` carries them out.
 */

/** A command, as the user typed it. `replace`: a create or a build of spares gives up a VM that no user has used. */
export type PowerVerb = 'stop' | 'restart' | 'start' | 'suspend' | 'kill' | 'rm' | 'apply' | 'replace';

/**
 * - `booting`: the guest runs, and has not reported the result of its boot.
 * - `shutting-down`: the guest runs, and an earlier `stop` asked it to shut down.
 * - `paused`: the CPUs are stopped, and only the process has the memory.
 * - `suspending`: a suspend was interrupted after the memory file was complete. The process has the same memory.
 * - `resuming`: a resume was interrupted before the guest ran. The memory file is current.
 * - `io-error`: paused, because this computer's disk is full.
 * - `crashed`, `ended`: the guest can't continue, or has shut down; the process still runs.
 * - `silent`: the process runs, and its monitor does not answer.
 * - `stopped`, `suspended`: there is no process.
 * - `unknown`: the system does not say whether the process runs.
 */
export type VmCondition =
  | 'running'
  | 'booting'
  | 'shutting-down'
  | 'paused'
  | 'suspending'
  | 'resuming'
  | 'io-error'
  | 'crashed'
  | 'ended'
  | 'silent'
  | 'stopped'
  | 'suspended'
  | 'unknown';

/**
 * - `leave`: do nothing.
 * - `shut-down`: ask the guest to shut down. Only if it has not done so after the time that `stop --timeout` announces,
 *   end the process.
 * - `continue`: let the CPUs run again. `continue, then …`: look at the VM again afterwards.
 * - `boot`: start the VM from its disk; ends the process of a guest that has ended.
 * - `resume`: start the VM with its memory file; ends a process that only holds a copy of that memory.
 * - `await-end, then boot`: the guest is shutting down.
 * - `suspend`: write the memory file.
 * - `end`: end the process. Nothing is lost: its memory is in the file, or its guest has ended.
 * - `discard`: end the process, and delete the memory file.
 * - `wait`: ask again for a while, and then refuse.
 * - `refuse`: change nothing, and tell the user what to type.
 */
export type PowerAction =
  | 'leave'
  | 'shut-down'
  | 'continue'
  | 'continue, then shut-down'
  | 'continue, then suspend'
  | 'resume'
  | 'resume, then shut-down'
  | 'boot'
  | 'await-end, then boot'
  | 'suspend'
  | 'end'
  | 'discard'
  | 'wait'
  | 'refuse';

type Row = Readonly<Record<VmCondition, PowerAction>>;

const STOP: Row = {
  running: 'shut-down',
  booting: 'shut-down',
  'shutting-down': 'shut-down',
  paused: 'continue, then shut-down',
  suspending: 'end',
  resuming: 'end',
  'io-error': 'continue, then shut-down',
  crashed: 'end',
  ended: 'end',
  silent: 'wait',
  stopped: 'leave',
  suspended: 'leave',
  unknown: 'refuse',
};

/** All conditions but `unknown` have the same action. */
function discardRow(): Row {
  const discards = Object.keys(STOP).map((condition) => [condition, 'discard']);
  return { ...(Object.fromEntries(discards) as Row), unknown: 'refuse' };
}

const TABLE: Readonly<Record<PowerVerb, Row>> = {
  stop: STOP,
  // The part of a restart before its start. A suspended guest shuts down properly, so that nothing in it is lost.
  restart: {
    ...STOP,
    suspending: 'continue, then shut-down',
    resuming: 'resume, then shut-down',
    suspended: 'resume, then shut-down',
  },
  start: {
    running: 'leave',
    booting: 'leave',
    'shutting-down': 'await-end, then boot',
    paused: 'continue',
    suspending: 'continue',
    resuming: 'resume',
    'io-error': 'continue',
    crashed: 'boot',
    ended: 'boot',
    silent: 'wait',
    stopped: 'boot',
    suspended: 'resume',
    unknown: 'refuse',
  },
  suspend: {
    running: 'suspend',
    booting: 'suspend',
    'shutting-down': 'refuse',
    paused: 'continue, then suspend',
    suspending: 'end',
    resuming: 'end',
    'io-error': 'continue, then suspend',
    crashed: 'refuse',
    ended: 'refuse',
    silent: 'wait',
    stopped: 'refuse',
    suspended: 'leave',
    unknown: 'refuse',
  },
  kill: discardRow(),
  rm: discardRow(),
  // Changes apply at the next start or restart that the user asks for.
  apply: Object.fromEntries(Object.keys(STOP).map((condition) => [condition, 'leave'])) as Row,
  replace: discardRow(),
};

/** Pure. Returns what a command does with a VM in this condition. */
export function decidePower(verb: PowerVerb, condition: VmCondition): PowerAction {
  return TABLE[verb][condition];
}

/** Returns whether an action may end the process of a VM at once, without a shutdown of its guest. */
export function isEnding(action: PowerAction): boolean {
  return ['end', 'discard', 'boot', 'resume', 'resume, then shut-down'].includes(action);
}
