import { idleCheckSeconds } from '../idle-check.ts';
import type { HostLifetime, LifetimeTimers } from './service-manager.ts';

const SCRIPT_FOLDER = '/usr/local/lib/slipway';
const UNIT_FOLDER = '/etc/systemd/system';
/** A file in timers.target.wants would have to be a link, which the files of a machine's first boot can't be. */
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
const TIMER_FILES = [DEADLINE_FILES.timer, IDLE_FILES.timer];

/** Users get a warning this long before the deadline. */
const WARNING_SECONDS = 300;
/**
 * A host that was off at its deadline runs this long after its next boot, in which `slipway start` gives it a later
 * deadline.
 */
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
  // Timers that were only stopped, or disabled, would be back after a boot, which starts what timers.target wants.
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

/** Formats an instant for OnCalendar, in UTC, so that the host's time zone does not matter. */
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

/** Returns a unit that runs a script. Its start and end each minute stay out of the host's log. */
function serviceUnit(description: string, argv: readonly string[]): string {
  return `${unitHeader(description)}
[Service]
Type=oneshot
ExecStart=/bin/sh ${argv.join(' ')}
LogLevelMax=notice
`;
}
