import { createHash } from 'node:crypto';
import { SlipwayError } from '../errors.ts';
import type { SshTarget } from '../machine/model.ts';
import type { Facts } from './facts.ts';
import type { RemoteFile, Step } from './step.ts';

/** When a host is to end or stop by itself, and what it needs to do so with nobody there. */
export type Life = {
  /** Of the machine, for what the host says before it goes. */
  readonly name: string;
  /** ISO 8601. */
  readonly deadline: string | undefined;
  /** So many seconds it may be idle. */
  readonly idle: number | undefined;
  readonly enginePort: number;
  /** The texts of `templates/deadline.sh` and `templates/idle.sh`. */
  readonly scripts: { readonly deadline: string; readonly idle: string };
};

const SCRIPTS = '/usr/local/lib/slipway';
const UNITS = '/etc/systemd/system';
/** A file in timers.target.wants would have to be a link, which a machine's first files can't be. */
const WANTS = `${UNITS}/timers.target.d/slipway.conf`;

const DEADLINE = {
  script: `${SCRIPTS}/deadline.sh`,
  service: `${UNITS}/slipway-deadline.service`,
  timer: `${UNITS}/slipway-deadline.timer`,
} as const;
const IDLE = {
  script: `${SCRIPTS}/idle.sh`,
  service: `${UNITS}/slipway-idle.service`,
  timer: `${UNITS}/slipway-idle.timer`,
} as const;
const ALL: readonly string[] = [...Object.values(DEADLINE), ...Object.values(IDLE), WANTS];

const WARNING_SECONDS = 300;
/** From a boot to the end of a host that was off at its deadline: in this time `slipway start` tells it a later one. */
const BOOT_SECONDS = 600;
const LONGEST_CHECK = 60;
/** The check comes so often within the time that a host may be idle. */
const CHECKS = 4;

export function isOfLife(path: string): boolean {
  return ALL.includes(path);
}

export function lifeFiles(life: Life): readonly RemoteFile[] {
  const { deadline, idle } = life;
  const files: Record<string, string> = {
    ...(deadline === undefined ? {} : deadlineFiles(life, deadline)),
    ...(idle === undefined ? {} : idleFiles(life, idle)),
  };
  const timers = timersOf(Object.keys(files));
  if (timers.length > 0) files[WANTS] = `# Written by Slipway.\n[Unit]\nWants=${timers.join(' ')}\n`;
  return Object.entries(files).map(([path, content]) => ({ path, mode: '644', content }));
}

/** What differs on the host from what is asked for; undefined when nothing does. */
export function planLife(life: Life | undefined, { files, lifePending, clock }: Facts): Step | undefined {
  const wanted = life ? lifeFiles({ ...life, deadline: byItsClock(life.deadline, clock) }) : [];
  const changed = wanted.filter(({ path, content, mode }) => {
    const there = files[path];
    return there?.sha256 !== sha256(content) || there.mode !== mode || there.owner !== 'root';
  });
  const gone = ALL.filter((path) => files[path] !== undefined && !wanted.some((file) => file.path === path));
  if (changed.length === 0 && gone.length === 0 && !lifePending) return undefined;
  if (life) refuseOver(life, clock);
  const laid: Step['files'] = [...changed, ...gone.map((path) => ({ path, content: undefined }))];
  const manifest = laid.map((file, index) => `${file.content === undefined ? '-' : file.mode} ${index} ${file.path}`);
  return {
    id: 'life',
    title: titleOf(life),
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
export function byItsClock(deadline: string | undefined, clock: Facts['clock']): string | undefined {
  if (deadline === undefined || clock === undefined || clock.ahead <= SAME_CLOCK_SECONDS) return deadline;
  const minutes = Math.ceil((clock.ahead + 30) / 60);
  return new Date(new Date(deadline).getTime() + minutes * 60_000).toISOString();
}

/** A timer that is started after its time does at once what it is there for: the host would go within this run. */
function refuseOver({ name, deadline }: Life, clock: Facts['clock']): void {
  if (deadline === undefined || clock === undefined) return;
  if (Date.parse(byItsClock(deadline, clock) ?? '') / 1000 > clock.now) return;
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
export function stopTimers({ user, address, port, jump }: SshTarget): string {
  const words = [
    'ssh',
    ...(port === 22 ? [] : ['-p', String(port)]),
    ...(jump === undefined
      ? []
      : ['-J', `${jump.user}@${jump.address.includes(':') ? `[${jump.address}]` : jump.address}:${jump.port}`]),
    `${user}@${address}`,
  ];
  const sudo = user === 'root' ? '' : 'sudo ';
  const timers = [DEADLINE.timer, IDLE.timer];
  return `${words.join(' ')} "${sudo}rm -f ${timers.join(' ')} && ${sudo}systemctl stop ${timersOf(timers).join(' ')}"`;
}

function titleOf(life: Life | undefined): string {
  const parts = [
    ...(life?.deadline === undefined ? [] : [`power off at ${life.deadline}`]),
    ...(life?.idle === undefined ? [] : [`stop once it was idle for ${life.idle} s`]),
  ];
  return parts.length === 0 ? 'Let the host run without a deadline' : `Let the host ${parts.join(', and ')}`;
}

function timersOf(paths: readonly string[]): readonly string[] {
  return paths.filter((path) => path.endsWith('.timer')).map((path) => path.slice(UNITS.length + 1));
}

function deadlineFiles({ name, scripts }: Life, deadline: string): Record<string, string> {
  const at = new Date(deadline);
  const before = new Date(at.getTime() - WARNING_SECONDS * 1000);
  const timer = `[Timer]
OnCalendar=${calendar(before)}
OnCalendar=${calendar(at)}
OnBootSec=${BOOT_SECONDS}
AccuracySec=1
`;
  return {
    [DEADLINE.script]: scripts.deadline,
    [DEADLINE.service]: service('End this host at its deadline', [
      DEADLINE.script,
      String(Math.ceil(at.getTime() / 1000)),
      name,
    ]),
    [DEADLINE.timer]: `${head('End this host at its deadline')}\n${timer}`,
  };
}

/** systemd's own form. In UTC, so that no time zone of the host's has a say. */
function calendar(at: Date): string {
  return `${at.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}

/** A whole number of seconds: the timer that comes at 12:00:00.000 must not find that it is not yet so late. */
export function checkSeconds(idle: number): number {
  return Math.max(1, Math.min(LONGEST_CHECK, Math.floor(idle / CHECKS)));
}

function idleFiles({ name, enginePort, scripts }: Life, idle: number): Record<string, string> {
  const seconds = checkSeconds(idle);
  const timer = `[Timer]
OnActiveSec=${seconds}
OnUnitActiveSec=${seconds}
AccuracySec=1
`;
  return {
    [IDLE.script]: scripts.idle,
    [IDLE.service]: service('Stop this host once it has been idle for long enough', [
      IDLE.script,
      String(idle),
      String(enginePort),
      name,
      String(seconds),
    ]),
    [IDLE.timer]: `${head('Look whether this host is idle')}\n${timer}`,
  };
}

function head(description: string): string {
  return `# Written by Slipway.\n[Unit]\nDescription=${description}\n`;
}

/** Its coming and going each minute is no news for the host's log. */
function service(description: string, argv: readonly string[]): string {
  return `${head(description)}
[Service]
Type=oneshot
ExecStart=/bin/sh ${argv.join(' ')}
LogLevelMax=notice
`;
}

function sha256(content: string): string {
  return createHash('sha256').update(content).digest('hex');
}
