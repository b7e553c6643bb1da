import { readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { readFileIfExists, type FileChange } from '../computer/files.ts';
import type { Machine } from '../machine/model.ts';
import { openStore, type Store } from '../machine/store.ts';
import type { AuthorityOverrides } from './config-json/auth-options.ts';
import { formatConfigJson } from './config-json/write.ts';

/**
 * Machines in the old tool's store, `~/.docker/machine`. Our record is the truth where there is one; beside it lies what the old tool
 * and its clients read, written with each record:
 *
 *   machines/NAME/config.json                      the old tool's view of it
 *                 ca.pem cert.pem key.pem          what DOCKER_CERT_PATH wants
 *                 server.pem server-key.pem        copies of what lies on the host
 *                 id_rsa                           a copy of the key that logs in, whatever kind of key it is
 */
export function openDockerMachineStore(
  root: string,
  how: {
    readonly swarm?: Readonly<Record<string, unknown>>;
    /** Of machines that are made now, where it is not the store's own. */
    readonly authority?: AuthorityOverrides;
  } = {},
): Store {
  return openStore(root, {
    paths: (folder) => ({
      tls: folder,
      serverCert: join(folder, 'server.pem'),
      serverKey: join(folder, 'server-key.pem'),
    }),
    async readForeign(name, folder) {
      const text = await readFileIfExists(join(folder, 'config.json'));
      return text === undefined
        ? undefined
        : (await import('./config-json/read.ts')).readConfigJson(name, folder, text);
    },
    foreignFileChanges: async (machine, folder) => findViewChanges(machine, folder, how),
  });
}

async function findViewChanges(
  machine: Machine,
  folder: string,
  how: Parameters<typeof openDockerMachineStore>[1],
): Promise<readonly FileChange[]> {
  const config = join(folder, 'config.json');
  const existing = parseJsonOrUndefined(await readFileIfExists(config));
  const authority = Object.fromEntries(
    Object.entries(how?.authority ?? {}).map(([which, path]) => [
      which,
      path === undefined ? undefined : resolve(path),
    ]),
  );
  const view = formatConfigJson(machine, { root: dirname(dirname(folder)), existing, ...how, authority });
  const [key, publicKey] = await Promise.all(
    ['id_ed25519', 'id_ed25519.pub'].map((file) => readFileIfExists(join(folder, 'ssh', file))),
  );
  const wanted = [
    { path: join(folder, 'id_rsa'), content: key },
    { path: join(folder, 'id_rsa.pub'), content: publicKey },
    { path: config, content: view },
  ];
  const changed: FileChange[] = [];
  for (const { path, content } of wanted) {
    const differs = content !== undefined && content !== (await readFile(path, 'utf8').catch(() => undefined));
    if (differs) changed.push({ do: 'write', path, content, mode: 0o600 });
  }
  return changed;
}

/** Where our record is the truth, a view that is broken is written anew. */
function parseJsonOrUndefined(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : (JSON.parse(text) as unknown);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
