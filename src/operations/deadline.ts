import { formatSeconds } from '../machine/duration.ts';
import type { Machine } from '../machine/model.ts';

/** Formats an ISO time for people: `2026-11-24 12:00 UTC`. */
export function formatTime(time: string): string {
  return `${time.slice(0, 16).replace('T', ' ')} UTC`;
}

export function hasEnded({ deadline }: Pick<Machine, 'deadline'>, now: Date): boolean {
  return deadline !== undefined && new Date(deadline) <= now;
}

/** Returns `ends in 3 h` or `passed`; '' for a machine without a deadline. */
export function formatDeadline({ deadline }: Pick<Machine, 'deadline'>, now: Date): string {
  if (deadline === undefined) return '';
  const secondsLeft = (new Date(deadline).getTime() - now.getTime()) / 1000;
  return secondsLeft > 0 ? `ends in ${formatSeconds(secondsLeft)}` : 'passed';
}

const WARNING_SECONDS = 15 * 60;

/** Returns a warning about a running machine's deadline; '' if none is needed. */
export function deadlineWarning(machine: Machine, now: Date): string {
  const { deadline, deadlinePending, spec } = machine;
  if (deadlinePending)
    return `its host does not have its new deadline yet; to update it: slipway provision ${spec.name}`;
  if (deadline === undefined) return '';
  const secondsLeft = (new Date(deadline).getTime() - now.getTime()) / 1000;
  if (secondsLeft > WARNING_SECONDS) return '';
  const hint = `for more time: slipway extend ${spec.name} 2h`;
  return secondsLeft > 0
    ? `ends in ${formatSeconds(secondsLeft)}; ${hint}`
    : `its deadline has passed (${formatTime(deadline)}); ${hint}`;
}
