import type { DriverManifest } from '../drivers/contract.ts';
import { drivers } from '../drivers/registry.ts';
import { exitCodes } from '../errors.ts';
import { toMarkdownTable } from '../machine/options.ts';
import { engineOptionSpecs, lifetimeOptionSpecs, sharingOptionSpecs } from '../machine/spec.ts';
import { optionSpecsOf, type Command } from './command.ts';
import { allCommands } from './commands/command-list.ts';
import { driverOptionSpecs } from '../machine-options/option-specs.ts';

const CHANGE_EFFECTS = {
  live: 'immediately',
  restart: 'at the next start; a running machine is restarted',
  replace: 'by a new machine',
} as const;

/**
 * Returns the text of docs/options.md: every option and exit status, from the declarations that the program itself
 * reads.
 */
export async function generateOptionsPage(): Promise<string> {
  const loaded = await Promise.all(allCommands.map(async ({ load }) => load()));
  return `${[
    '# Options',
    'Generated from the declarations in `src/` by `npm run docs`; a test fails if it is out of date.',
    'A flag overrides the current value of a machine, which overrides the environment, which overrides the default. You can\nrepeat a flag marked with …; its variable separates values by commas. An empty value returns an option to its default:\n`slipway provision web --engine-opt=`.',
    ...loaded.map(commandSection),
    '## Lifetime options (`create`, `provision`)',
    toMarkdownTable(lifetimeOptionSpecs),
    '## Engine options (`create`, `provision`)',
    toMarkdownTable(engineOptionSpecs),
    '## Sharing options (`create`, `provision`)',
    toMarkdownTable(sharingOptionSpecs),
    ...drivers.flatMap(({ name, summary }) => [
      `## Driver \`${name}\`: ${summary}`,
      toMarkdownTable(driverOptionSpecs[name] ?? []),
    ]),
    '## How changes in `machines.yaml` take effect',
    changesTable(),
    '## Global options',
    [
      '- `--json` prints one JSON document. A command with steps prints one event per line; the last one is',
      '  `{"event": "result", …}` or `{"event": "error", …}`. `events.schema.json` in the package describes them.',
      '- `--debug` shows every remote command with its time and exit status.',
      '- `--quiet` shows no progress.',
      '- `--help` shows help.',
    ].join('\n'),
    "`SLIPWAY_HOME` is the folder of machines and images (`~/.slipway`). `DOCKER_CONFIG` is the folder of the docker CLI's\nsettings (`~/.docker`).",
    '## Exit statuses',
    exitStatusTable(),
  ].join('\n\n')}\n`;
}

function commandSection(command: Command): string {
  const specs = optionSpecsOf(command);
  const head = `## \`slipway ${command.name}${command.usage === '' ? '' : ` ${command.usage}`}\`\n\n${command.summary}.`;
  return specs.length === 0 ? head : `${head}\n\n${toMarkdownTable(specs)}`;
}

function compareByName(left: DriverManifest, right: DriverManifest): number {
  return left.name < right.name ? -1 : 1;
}

/** Returns how `apply` changes each option. A driver without rules needs a new machine for every change. */
function changesTable(): string {
  const rows = drivers.toSorted(compareByName).flatMap(({ name, changeKindOf }) => {
    const specs = driverOptionSpecs[name] ?? [];
    if (!changeKindOf) return [`| \`${name}\` | by a new machine | all |`];
    const effects = specs.map(({ key }) => {
      const [growth, shrinkage] = [changeKindOf(key, 1, 2), changeKindOf(key, 2, 1)];
      const effect = CHANGE_EFFECTS[growth];
      return { key, effect: growth === shrinkage ? effect : `${effect}; if it shrinks, ${CHANGE_EFFECTS[shrinkage]}` };
    });
    return [...new Set(effects.map(({ effect }) => effect))].map(
      (shared) =>
        `| \`${name}\` | ${shared} | ${effects
          .filter(({ effect }) => effect === shared)
          .map(({ key }) => `\`${key}\``)
          .join(', ')} |`,
    );
  });
  return [
    '| Section | Takes effect | Keys |',
    '| --- | --- | --- |',
    ...rows,
    '| `engine` | by a restart of the engine, once | all but `installUrl`, `repositoryUrl`, `repositoryKey` (no restart); `port` of a local VM needs a new machine |',
    '| | immediately | `ttl`, `idleStop`, `profiles` |',
  ].join('\n');
}

function exitStatusTable(): string {
  const statuses = [...new Set(Object.values(exitCodes))].toSorted((left, right) => left - right);
  const rows = statuses.map((status) => {
    const codes = Object.entries(exitCodes).filter(([, value]) => value === status);
    return `| ${status} | ${codes.map(([code]) => `\`${code}\``).join(', ')} |`;
  });
  return [
    '| Status | Codes (in `--json`: `error.code`) |',
    '| --- | --- |',
    '| 0 | success |',
    '| 1 | a bug in Slipway; `status`: the engine does not answer; `doctor`: something is missing; `plan --exit-code`: there are changes to apply |',
    ...rows,
  ].join('\n');
}
