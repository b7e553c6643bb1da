import { readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { readFileIfExists, type FileChange } from '../computer/files.ts';
import type { Machine } from '../machine/model.ts';
import { openStore, type Store } from '../machine/store.ts';
import type { AuthorityOverrides } from './config-json/auth-options.ts';
import { formatConfigJson } from './config-json/write.ts';
import { parseJson } from '../parse-json.ts';

type DockerMachineStoreOptions = {
  readonly swarm?: Readonly<Record<string, unknown>>;
  /** The certificate authority of new machines, unless it is the store's own. */
  readonly authority?: AuthorityOverrides;
};

/**
 * Opens Docker Machine's store, `~/.docker/machine`. If a machine has a record (machine.json), the record takes
 * precedence. Each save of it also writes the files that Docker Machine and its clients read:
 *
 *   machines/NAME/config.json                      the machine as Docker Machine describes it
 *                 ca.pem cert.pem key.pem          the files of DOCKER_CERT_PATH
 *                 server.pem server-key.pem        copies of the host's files
 *                 id_rsa                           a copy of the SSH key, of any type
 */
export function openDockerMachineStore(root: string, options: DockerMachineStoreOptions = {}): Store {
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
    foreignFileChanges: async (machine, folder) => changesToCompatibleFiles(machine, folder, options),
  });
}

/** Returns the changes to the files that Docker Machine reads; files that are up to date are not rewritten. */
async function changesToCompatibleFiles(
  machine: Machine,
  folder: string,
  options: DockerMachineStoreOptions,
): Promise<readonly FileChange[]> {
  const config = join(folder, 'config.json');
  // Text that is not JSON counts as absent: the store writes the file again from the record.
  const existing = parseJson(await readFileIfExists(config));
  const authority = Object.fromEntries(
    Object.entries(options.authority ?? {}).map(([file, path]) => [
      file,
      path === undefined ? undefined : resolve(path),
    ]),
  );
  const content = formatConfigJson(machine, { root: dirname(dirname(folder)), existing, ...options, authority });
  const [key, publicKey] = await Promise.all(
    ['id_ed25519', 'id_ed25519.pub'].map((file) => readFileIfExists(join(folder, 'ssh', file))),
  );
  const files = [
    { path: join(folder, 'id_rsa'), content: key },
    { path: join(folder, 'id_rsa.pub'), content: publicKey },
    { path: config, content },
  ];
  const changed: FileChange[] = [];
  for (const { path, content } of files) {
    const differs = content !== undefined && content !== (await readFile(path, 'utf8').catch(() => undefined));
    if (differs) changed.push({ do: 'write', path, content, mode: 0o600 });
  }
  return changed;
}
