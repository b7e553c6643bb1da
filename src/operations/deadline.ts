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
  const left = (new Date(deadline).getTime() - now.getTime()) / 1000;
  return left > 0 ? `ends in ${formatSeconds(left)}` : 'passed';
}

const WARNING_SECONDS = 15 * 60;

/** Returns what a user should know about a running machine's deadline now; '' for nothing. */
export function deadlineWarning(machine: Machine, now: Date): string {
  const { deadline, deadlinePending, spec } = machine;
  if (deadlinePending) return `its host has not heard of its new deadline; tell it: slipway provision ${spec.name}`;
  if (deadline === undefined) return '';
  const left = (new Date(deadline).getTime() - now.getTime()) / 1000;
  if (left > WARNING_SECONDS) return '';
  const more = `more time: slipway extend ${spec.name} 2h`;
  return left > 0
    ? `ends in ${formatSeconds(left)}; ${more}`
    : `its deadline has passed (${formatTime(deadline)}); ${more}`;
}
