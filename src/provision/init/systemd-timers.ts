import { idleCheckSeconds } from '../idle-check.ts';
import type { HostLifetime, LifetimeTimers } from './service-manager.ts';

const SCRIPT_FOLDER = '/usr/local/lib/slipway';
const UNIT_FOLDER = '/etc/systemd/system';
/** Starts the timers at boot. timers.target.wants would need a link, which the files of a first boot can't contain. */
const TIMERS_DROP_IN = `${UNIT_FOLDER}/timers.target.d/slipway.conf`;

const RUN_FOLDER = '/run/slipway';
/** As in life.sh. */
const PENDING_MARK = `${RUN_FOLDER}/life-pending`;

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
const TIMER_FILES = [DEADLINE_FILES.timer, IDLE_FILES.timer];

/** How long before the deadline users get a warning. */
const WARNING_SECONDS = 300;
/** How long a host that was off at its deadline runs after boot, so that `slipway start` can set a later deadline. */
const BOOT_GRACE_SECONDS = 600;

export const systemdTimers: LifetimeTimers = {
  paths: [...Object.values(DEADLINE_FILES), ...Object.values(IDLE_FILES), TIMERS_DROP_IN],
  filesFor(lifetime) {
    const { deadline, idleSeconds } = lifetime;
    const files: Record<string, string> = {
      ...(deadline === undefined ? {} : deadlineFiles(lifetime, deadline)),
      ...(idleSeconds === undefined ? {} : idleFiles(lifetime, idleSeconds)),
    };
    const timers = timerNamesOf(Object.keys(files));
    if (timers.length > 0) files[TIMERS_DROP_IN] = `# Written by Slipway.\n[Unit]\nWants=${timers.join(' ')}\n`;
    return Object.entries(files).map(([path, content]) => ({ path, mode: '644', content }));
  },
  namesOf: timerNamesOf,
  // The mark makes the first visit complete a start that failed. The boot may wait for these commands: --no-block does
  // not wait for the boot in turn.
  startCommandsOf: (timers) => [
    `mkdir -p ${RUN_FOLDER} && : >${PENDING_MARK}`,
    `systemctl daemon-reload && systemctl start --no-block ${timers.join(' ')} && rm -f ${PENDING_MARK}`,
  ],
  // Stopped or disabled timers would start again at boot, since timers.target wants them, so their files are removed.
  stopCommands: [`rm -f ${TIMER_FILES.join(' ')}`, `systemctl stop ${timerNamesOf(TIMER_FILES).join(' ')}`],
};

function timerNamesOf(paths: readonly string[]): readonly string[] {
  return paths.filter((path) => path.endsWith('.timer')).map((path) => path.slice(UNIT_FOLDER.length + 1));
}

function deadlineFiles({ name, scripts }: HostLifetime, deadline: string): Record<string, string> {
  const at = new Date(deadline);
  const warning = new Date(at.getTime() - WARNING_SECONDS * 1000);
  const timer = `[Timer]
OnCalendar=${formatCalendarTime(warning)}
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

/** Formats a time for OnCalendar, in UTC, so that the host's time zone does not matter. */
function formatCalendarTime(at: Date): string {
  return `${at.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}

function idleFiles({ name, enginePort, scripts }: HostLifetime, idleSeconds: number): Record<string, string> {
  const checkSeconds = idleCheckSeconds(idleSeconds);
  const timer = `[Timer]
OnActiveSec=${checkSeconds}
OnUnitActiveSec=${checkSeconds}
AccuracySec=1
`;
  return {
    [IDLE_FILES.script]: scripts.idle,
    [IDLE_FILES.service]: serviceUnit('Stop this host once it has been idle for long enough', [
      IDLE_FILES.script,
      String(idleSeconds),
      String(enginePort),
      name,
      String(checkSeconds),
    ]),
    [IDLE_FILES.timer]: `${unitHeader('Look whether this host is idle')}\n${timer}`,
  };
}

function unitHeader(description: string): string {
  return `# Written by Slipway.\n[Unit]\nDescription=${description}\n`;
}

/** Returns a unit that runs a script. LogLevelMax keeps its start and end, every minute, out of the host's log. */
function serviceUnit(description: string, argv: readonly string[]): string {
  return `${unitHeader(description)}
[Service]
Type=oneshot
ExecStart=/bin/sh ${argv.join(' ')}
LogLevelMax=notice
`;
}
