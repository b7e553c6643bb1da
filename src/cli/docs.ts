import type { Driver } from '../drivers/contract.ts';
import { drivers } from '../drivers/registry.ts';
import { exitCodes } from '../errors.ts';
import { toTable } from '../machine/options.ts';
import { engineInfos, lifeInfos } from '../machine/spec.ts';
import { infosOf, type Command } from './command.ts';
import { everyCommand } from './commands/all.ts';
import { driverInfos } from './spec.ts';

const HOW = {
  live: 'at once',
  restart: 'at its next start; one that runs is stopped and started',
  replace: 'another machine',
} as const;

/** docs/options.md, whole: every option and exit status, from the declarations that the program itself reads. */
export async function optionsPage(): Promise<string> {
  const loaded = await Promise.all(everyCommand.map(async ({ load }) => load()));
  return `${[
    '# Options',
    'Made from the declarations in `src/` by `npm run docs`; a test fails when it is stale.',
    'A flag stands above what the machine was made with before, that above the environment, that above the default. A flag marked … may be given more than once; in its variable, values are separated by commas. An empty value takes back what a machine was made with: `slipway provision web --engine-opt=`.',
    ...loaded.map(commandSection),
    '## The life of a machine (`create`, `provision`)',
    toTable(lifeInfos),
    '## The engine (`create`, `provision`)',
    toTable(engineInfos),
    ...drivers.flatMap(({ name, summary }) => [`## Driver \`${name}\`: ${summary}`, toTable(driverInfos[name] ?? [])]),
    '## How options of `machines.yaml` change',
    changesTable(),
    '## Everywhere',
    '`--json` prints one JSON document; where there are steps it prints one event a line, of which the last is `{"event": "result", …}` or `{"event": "error", …}` (`events.schema.json` in the package describes them), `--debug` shows every remote command with its time and exit status, `--quiet` shows no progress, `--help` explains. `SLIPWAY_HOME` is where machines are kept (`~/.slipway`); `DOCKER_CONFIG` is where the docker CLI keeps its settings (`~/.docker`).',
    '## Exit statuses',
    exitTable(),
  ].join('\n\n')}\n`;
}

function commandSection(command: Command): string {
  const infos = infosOf(command);
  const head = `## \`slipway ${command.name}${command.words === '' ? '' : ` ${command.words}`}\`\n\n${command.summary}.`;
  return infos.length === 0 ? head : `${head}\n\n${toTable(infos)}`;
}

function byName(left: Driver, right: Driver): number {
  return left.name < right.name ? -1 : 1;
}

/** What `apply` does where a value becomes another; drivers that say nothing of it make another machine. */
function changesTable(): string {
  const rows = drivers.toSorted(byName).flatMap(({ name, changeOf }) => {
    const infos = driverInfos[name] ?? [];
    if (!changeOf) return [`| \`${name}\` | another machine | all |`];
    const how = infos.map(({ key }) => {
      const [more, less] = [changeOf(key, 1, 2), changeOf(key, 2, 1)];
      return { key, how: more === less ? HOW[more] : `${HOW[more]}; where it shrinks, ${HOW[less]}` };
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

function exitTable(): string {
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
