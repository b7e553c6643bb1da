import { formatAssignments } from '../ssh/shell.ts';
import { distros } from './distros/registry.ts';
import { serviceManagers } from './init/registry.ts';
import { joinTemplates, type ReadTemplate } from './step.ts';

/**
 * Returns the script that gathers facts: a part that becomes root, followed by its input, the part that runs as root.
 * The latter also finds out who listens on the port that the engine is to have. It contains the parts for all
 * distributions and service managers: only the host knows its own, and the facts must take only one round trip.
 */
export async function readFactsScript(readTemplate: ReadTemplate, enginePort: number): Promise<string> {
  const families = [...serviceManagers, ...distros].map(({ name }) => name);
  const parts = [
    ...serviceManagers.map(({ scripts }) => scripts.facts),
    ...distros.map(({ factsScript }) => factsScript),
  ];
  const [becomeRoot, asRoot] = await Promise.all([
    readTemplate('facts.sh'),
    joinTemplates(['engine-info.sh', ...parts, 'other-engines.sh', 'facts-as-root.sh'], readTemplate),
  ]);
  const script = formatAssignments({ FAMILIES: families.join(' '), ENGINE_PORT: String(enginePort) }) + asRoot;
  return `${becomeRoot}\nmain <<'AS_ROOT'\n${script}\nAS_ROOT\n`;
}

/** Returns the script of a status query: the host's metrics, and what its engine's command line follows from. */
export async function readVitalsScript(readTemplate: ReadTemplate): Promise<string> {
  const script = await joinTemplates(
    [...serviceManagers.map(({ scripts }) => scripts.facts), 'vitals.sh'],
    readTemplate,
  );
  return formatAssignments({ FAMILIES: serviceManagers.map(({ name }) => name).join(' ') }) + script;
}
