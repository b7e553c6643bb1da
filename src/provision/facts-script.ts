import { formatAssignments } from '../ssh/shell.ts';
import { distros } from './distros/registry.ts';
import { serviceManagers } from './init/registry.ts';
import { joinTemplates, type ReadTemplate } from './step.ts';

/**
 * Joins the script that gathers facts: the part that becomes root, and behind it, as its input, the part that runs as
 * root. The latter holds the parts of all families, since only the host's answer tells of which it is, and one round
 * trip has to do.
 */
export async function readFactsScript(readTemplate: ReadTemplate): Promise<string> {
  const families = [...serviceManagers, ...distros].map(({ name }) => name);
  const parts = [
    ...serviceManagers.map(({ scripts }) => scripts.facts),
    ...distros.map(({ factsScript }) => factsScript),
  ];
  const [becomeRoot, asRoot] = await Promise.all([
    readTemplate('facts.sh'),
    joinTemplates([...parts, 'facts-as-root.sh'], readTemplate),
  ]);
  const script = formatAssignments({ FAMILIES: families.join(' ') }) + asRoot;
  return `${becomeRoot}\nmain <<'AS_ROOT'\n${script}\nAS_ROOT\n`;
}
