import { readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { readIfThere, type FileChange } from '../computer/files.ts';
import type { Machine } from '../machine/model.ts';
import { configJson, type Overrides } from '../profiles/docker-machine.ts';
import { openStore, type Store } from '../machine/store.ts';

/**
 * Machines in the old tool's store, `~/.docker/machine`. Our record is the truth where there is one; beside it lies what the old tool
 * and its clients read, written with each record:
 *
 *   machines/NAME/config.json                      the old tool's view of it
 *                 ca.pem cert.pem key.pem          what DOCKER_CERT_PATH wants
 *                 server.pem server-key.pem        copies of what lies on the host
 *                 id_rsa                           a copy of the key that logs in, whatever kind of key it is
 */
export function openMachineStore(
  root: string,
  how: {
    readonly swarm?: Readonly<Record<string, unknown>>;
    /** Of machines that are made now, where it is not the store's own. */
    readonly authority?: Overrides;
  } = {},
): Store {
  return openStore(root, {
    paths: (folder) => ({
      tls: folder,
      serverCert: join(folder, 'server.pem'),
      serverKey: join(folder, 'server-key.pem'),
    }),
    async foreign(name, folder) {
      const text = await readIfThere(join(folder, 'config.json'));
      return text === undefined ? undefined : (await import('./foreign.ts')).readForeign(name, folder, text);
    },
    alongside: async (machine, folder) => viewOf(machine, folder, how),
  });
}

async function viewOf(
  machine: Machine,
  folder: string,
  how: Parameters<typeof openMachineStore>[1],
): Promise<readonly FileChange[]> {
  const config = join(folder, 'config.json');
  const before = parsed(await readIfThere(config));
  const authority = Object.fromEntries(
    Object.entries(how?.authority ?? {}).map(([which, path]) => [
      which,
      path === undefined ? undefined : resolve(path),
    ]),
  );
  const view = configJson(machine, { root: dirname(dirname(folder)), before, ...how, authority });
  const [key, publicKey] = await Promise.all(
    ['id_ed25519', 'id_ed25519.pub'].map((file) => readIfThere(join(folder, 'ssh', file))),
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
function parsed(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : (JSON.parse(text) as unknown);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
