import { createHash } from 'node:crypto';
import { SlipwayError } from '../errors.ts';
import type { SshTarget } from '../machine/model.ts';
import type { Facts } from './facts.ts';
import type { RemoteFile, Step } from './step.ts';

/** When a host is to end or stop by itself, and what it needs to do so with nobody there. */
export type HostLifetime = {
  /** Of the machine, for what the host says before it goes. */
  readonly name: string;
  /** ISO 8601. */
  readonly deadline: string | undefined;
  /** So many seconds it may be idle. */
  readonly idleSeconds: number | undefined;
  readonly enginePort: number;
  /** The texts of `templates/deadline.sh` and `templates/idle.sh`. */
  readonly scripts: { readonly deadline: string; readonly idle: string };
};

const SCRIPT_FOLDER = '/usr/local/lib/slipway';
const UNIT_FOLDER = '/etc/systemd/system';
/** A file in timers.target.wants would have to be a link, which a machine's first files can't be. */
const TIMERS_DROP_IN = `${UNIT_FOLDER}/timers.target.d/slipway.conf`;

const DEADLINE_FILES = {
  script: `${SCRIPT_FOLDER}/deadline.sh`,
  service: `${UNIT_FOLDER}/slipway-deadline.service`,
  timer: `${UNIT_FOLDER}/slipway-deadline.timer`,
} as const;
const IDLE_FILES = {
  script: `${SCRIPT_FOLDER}/idle.sh`,
  service: `${UNIT_FOLDER}/slipway-idle.service`,
  timer: `${UNIT_FOLDER}/slipway-idle.timer`,
} as const;
const ALL_FILES: readonly string[] = [...Object.values(DEADLINE_FILES), ...Object.values(IDLE_FILES), TIMERS_DROP_IN];

const WARNING_SECONDS = 300;
/** From a boot to the end of a host that was off at its deadline: in this time `slipway start` tells it a later one. */
const BOOT_GRACE_SECONDS = 600;
const MAX_CHECK_SECONDS = 60;
/** The check comes so often within the time that a host may be idle. */
const CHECKS_PER_IDLE_PERIOD = 4;

export function isLifetimeFile(path: string): boolean {
  return ALL_FILES.includes(path);
}

export function lifetimeFilesFor(life: HostLifetime): readonly RemoteFile[] {
  const { deadline, idleSeconds } = life;
  const files: Record<string, string> = {
    ...(deadline === undefined ? {} : deadlineFiles(life, deadline)),
    ...(idleSeconds === undefined ? {} : idleFiles(life, idleSeconds)),
  };
  const timers = timersOf(Object.keys(files));
  if (timers.length > 0) files[TIMERS_DROP_IN] = `# Written by Slipway.\n[Unit]\nWants=${timers.join(' ')}\n`;
  return Object.entries(files).map(([path, content]) => ({ path, mode: '644', content }));
}

/** What differs on the host from what is asked for; undefined when nothing does. */
export function planLifetime(
  life: HostLifetime | undefined,
  { files, lifetimePending, clock }: Facts,
): Step | undefined {
  const wanted = life ? lifetimeFilesFor({ ...life, deadline: toHostClock(life.deadline, clock) }) : [];
  const changed = wanted.filter(({ path, content, mode }) => {
    const there = files[path];
    return there?.sha256 !== sha256(content) || there.mode !== mode || there.owner !== 'root';
  });
  const gone = ALL_FILES.filter((path) => files[path] !== undefined && !wanted.some((file) => file.path === path));
  if (changed.length === 0 && gone.length === 0 && !lifetimePending) return undefined;
  if (life) requireFutureDeadline(life, clock);
  const laid: Step['files'] = [...changed, ...gone.map((path) => ({ path, content: undefined }))];
  const manifest = laid.map((file, index) => `${file.content === undefined ? '-' : file.mode} ${index} ${file.path}`);
  return {
    id: 'life',
    title: lifetimeTitle(life),
    template: 'life.sh',
    variables: { TIMERS: timersOf(wanted.map(({ path }) => path)).join(' '), MANIFEST: manifest.join('\n') },
    files: laid,
  };
}

/** Clocks that differ by less are as good as the same. */
export const SAME_CLOCK_SECONDS = 60;

/**
 * The deadline as the host's own clock will show it: never earlier, whichever of the two clocks is put right later. In whole minutes, and
 * some seconds more, so that a second look finds the same.
 */
export function toHostClock(deadline: string | undefined, clock: Facts['clock']): string | undefined {
  if (deadline === undefined || clock === undefined || clock.aheadSeconds <= SAME_CLOCK_SECONDS) return deadline;
  const minutes = Math.ceil((clock.aheadSeconds + 30) / 60);
  return new Date(new Date(deadline).getTime() + minutes * 60_000).toISOString();
}

/** A timer that is started after its time does at once what it is there for: the host would go within this run. */
function requireFutureDeadline({ name, deadline }: HostLifetime, clock: Facts['clock']): void {
  if (deadline === undefined || clock === undefined) return;
  if (Date.parse(toHostClock(deadline, clock) ?? '') / 1000 > clock.now) return;
  throw new SlipwayError(
    'MACHINE_ENDED',
    `The time of "${name}" was over at ${deadline}, before its host was told of it`,
    {
      hint: `Give it more: slipway extend ${name} 2h; one that is not finished yet: slipway create ${name} --ttl 2h`,
    },
  );
}

/**
 * What to type against the timers without Slipway. Stopped alone, or disabled, they would be back after a boot, which starts what
 * timers.target wants.
 */
export function stopTimersCommand({ user, address, port, jump }: SshTarget): string {
  const words = [
    'ssh',
    ...(port === 22 ? [] : ['-p', String(port)]),
    ...(jump === undefined
      ? []
      : ['-J', `${jump.user}@${jump.address.includes(':') ? `[${jump.address}]` : jump.address}:${jump.port}`]),
    `${user}@${address}`,
  ];
  const sudo = user === 'root' ? '' : 'sudo ';
  const timers = [DEADLINE_FILES.timer, IDLE_FILES.timer];
  return `${words.join(' ')} "${sudo}rm -f ${timers.join(' ')} && ${sudo}systemctl stop ${timersOf(timers).join(' ')}"`;
}

function lifetimeTitle(life: HostLifetime | undefined): string {
  const parts = [
    ...(life?.deadline === undefined ? [] : [`power off at ${life.deadline}`]),
    ...(life?.idleSeconds === undefined ? [] : [`stop once it was idle for ${life.idleSeconds} s`]),
  ];
  return parts.length === 0 ? 'Let the host run without a deadline' : `Let the host ${parts.join(', and ')}`;
}

function timersOf(paths: readonly string[]): readonly string[] {
  return paths.filter((path) => path.endsWith('.timer')).map((path) => path.slice(UNIT_FOLDER.length + 1));
}

function deadlineFiles({ name, scripts }: HostLifetime, deadline: string): Record<string, string> {
  const at = new Date(deadline);
  const before = new Date(at.getTime() - WARNING_SECONDS * 1000);
  const timer = `[Timer]
OnCalendar=${formatCalendarTime(before)}
OnCalendar=${formatCalendarTime(at)}
OnBootSec=${BOOT_GRACE_SECONDS}
AccuracySec=1
`;
  return {
    [DEADLINE_FILES.script]: scripts.deadline,
    [DEADLINE_FILES.service]: serviceUnit('End this host at its deadline', [
      DEADLINE_FILES.script,
      String(Math.ceil(at.getTime() / 1000)),
      name,
    ]),
    [DEADLINE_FILES.timer]: `${unitHeader('End this host at its deadline')}\n${timer}`,
  };
}

/** systemd's own form. In UTC, so that no time zone of the host's has a say. */
function formatCalendarTime(at: Date): string {
  return `${at.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}

/** A whole number of seconds: the timer that comes at 12:00:00.000 must not find that it is not yet so late. */
export function idleCheckSeconds(idle: number): number {
  return Math.max(1, Math.min(MAX_CHECK_SECONDS, Math.floor(idle / CHECKS_PER_IDLE_PERIOD)));
}

function idleFiles({ name, enginePort, scripts }: HostLifetime, idle: number): Record<string, string> {
  const seconds = idleCheckSeconds(idle);
  const timer = `[Timer]
OnActiveSec=${seconds}
OnUnitActiveSec=${seconds}
AccuracySec=1
`;
  return {
    [IDLE_FILES.script]: scripts.idle,
    [IDLE_FILES.service]: serviceUnit('Stop this host once it has been idle for long enough', [
      IDLE_FILES.script,
      String(idle),
      String(enginePort),
      name,
      String(seconds),
    ]),
    [IDLE_FILES.timer]: `${unitHeader('Look whether this host is idle')}\n${timer}`,
  };
}

function unitHeader(description: string): string {
  return `# Written by Slipway.\n[Unit]\nDescription=${description}\n`;
}

/** Its coming and going each minute is no news for the host's log. */
function serviceUnit(description: string, argv: readonly string[]): string {
  return `${unitHeader(description)}
[Service]
Type=oneshot
ExecStart=/bin/sh ${argv.join(' ')}
LogLevelMax=notice
`;
}

function sha256(content: string): string {
  return createHash('sha256').update(content).digest('hex');
}
