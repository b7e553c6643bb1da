import type { DriverManifest } from '../drivers/contract.ts';
import { drivers } from '../drivers/registry.ts';
import { exitCodes } from '../errors.ts';
import { toMarkdownTable } from '../machine/options.ts';
import { engineOptionSpecs, lifetimeOptionSpecs } from '../machine/spec.ts';
import { optionSpecsOf, type Command } from './command.ts';
import { allCommands } from './commands/command-list.ts';
import { driverOptionSpecs } from '../machine-options/option-specs.ts';

const CHANGE_EFFECTS = {
  live: 'at once',
  restart: 'at its next start; one that runs is stopped and started',
  replace: 'another machine',
} as const;

/** docs/options.md, whole: every option and exit status, from the declarations that the program itself reads. */
export async function generateOptionsPage(): Promise<string> {
  const loaded = await Promise.all(allCommands.map(async ({ load }) => load()));
  return `${[
    '# Options',
    'Made from the declarations in `src/` by `npm run docs`; a test fails when it is stale.',
    'A flag stands above what the machine was made with before, that above the environment, that above the default. A flag marked … may be given more than once; in its variable, values are separated by commas. An empty value takes back what a machine was made with: `slipway provision web --engine-opt=`.',
    ...loaded.map(commandSection),
    '## The life of a machine (`create`, `provision`)',
    toMarkdownTable(lifetimeOptionSpecs),
    '## The engine (`create`, `provision`)',
    toMarkdownTable(engineOptionSpecs),
    ...drivers.flatMap(({ name, summary }) => [
      `## Driver \`${name}\`: ${summary}`,
      toMarkdownTable(driverOptionSpecs[name] ?? []),
    ]),
    '## How options of `machines.yaml` change',
    changesTable(),
    '## Everywhere',
    '`--json` prints one JSON document; where there are steps it prints one event a line, of which the last is `{"event": "result", …}` or `{"event": "error", …}` (`events.schema.json` in the package describes them), `--debug` shows every remote command with its time and exit status, `--quiet` shows no progress, `--help` explains. `SLIPWAY_HOME` is where machines are kept (`~/.slipway`); `DOCKER_CONFIG` is where the docker CLI keeps its settings (`~/.docker`).',
    '## Exit statuses',
    exitStatusTable(),
  ].join('\n\n')}\n`;
}

function commandSection(command: Command): string {
  const infos = optionSpecsOf(command);
  const head = `## \`slipway ${command.name}${command.usage === '' ? '' : ` ${command.usage}`}\`\n\n${command.summary}.`;
  return infos.length === 0 ? head : `${head}\n\n${toMarkdownTable(infos)}`;
}

function compareByName(left: DriverManifest, right: DriverManifest): number {
  return left.name < right.name ? -1 : 1;
}

/** What `apply` does where a value becomes another; drivers that say nothing of it make another machine. */
function changesTable(): string {
  const rows = drivers.toSorted(compareByName).flatMap(({ name, changeKindOf }) => {
    const infos = driverOptionSpecs[name] ?? [];
    if (!changeKindOf) return [`| \`${name}\` | another machine | all |`];
    const how = infos.map(({ key }) => {
      const [more, less] = [changeKindOf(key, 1, 2), changeKindOf(key, 2, 1)];
      return {
        key,
        how:
          more === less ? CHANGE_EFFECTS[more] : `${CHANGE_EFFECTS[more]}; where it shrinks, ${CHANGE_EFFECTS[less]}`,
      };
    });
    return [...new Set(how.map((one) => one.how))].map(
      (same) =>
        `| \`${name}\` | ${same} | ${how
          .filter((one) => one.how === same)
          .map(({ key }) => `\`${key}\``)
          .join(', ')} |`,
    );
  });
  return [
    '| Section | Changes | Keys |',
    '| --- | --- | --- |',
    ...rows,
    '| `engine` | by a restart of the engine, once | all but `installUrl`, `repositoryUrl`, `repositoryKey` (nothing restarts); `port` of a local VM takes another machine |',
    '| | at once | `ttl`, `idleStop`, `profiles` |',
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
    '| 0 | done |',
    '| 1 | a bug in Slipway; `status`: the engine does not answer; `doctor`: something is missing; `plan --exit-code`: something is to be done |',
    ...rows,
  ].join('\n');
}
