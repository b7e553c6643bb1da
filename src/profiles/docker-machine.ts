import { join } from 'node:path';
import { listFolderIfExists, readFileIfExists, type FileChange } from '../computer/files.ts';
import { readOwnerId } from '../docker-machine/config-json/mark.ts';
import { formatConfigJson } from '../docker-machine/config-json/write.ts';
import { SlipwayError, systemCode } from '../errors.ts';
import type { ClientPaths, Profile } from './profile.ts';

const CERTIFICATE_FILES = ['ca', 'cert', 'key'] as const;

/** Adds a machine to Docker Machine's store, for programs that read that store. */
export const dockerMachineProfile: Profile = {
  name: 'docker-machine',
  summary: 'a machine in the store of Docker Machine, for programs that read it',
  async findConflict(name, id, places) {
    const { folder, config, record } = machineFilesOf(name, places);
    const [text, dropInRecord, entries] = await Promise.all([
      readFileIfExists(config),
      readFileIfExists(record),
      listFolderIfExists(folder),
    ]);
    const isFree = text === undefined ? entries.length === 0 : readOwnerId(text) === id;
    if (dropInRecord === undefined && isFree) return undefined;
    return new SlipwayError('CONTEXT_TAKEN', `Machine "${name}" already exists in Docker Machine's store (${folder})`, {
      hint: 'Choose another name, or leave out the profile docker-machine',
    });
  },
  changesToAdd({ machine, tls, clientPaths }) {
    const { folder, config } = machineFilesOf(machine.spec.name, clientPaths);
    const certificates = Object.entries(tls ?? {}).map(([file, content]): FileChange => ({
      do: 'write',
      path: certificateFile(folder, file),
      content,
      mode: 0o600,
    }));
    const [ca, cert, key] = CERTIFICATE_FILES.map((file) => certificateFile(folder, file));
    // The machine has its own certificate authority. Its key stays in Slipway's store.
    const authority = { ca, cert, key, caKey: '' };
    const content = formatConfigJson(machine, { root: clientPaths.dockerMachine, authority });
    // config.json comes first: it identifies the folder's owner even if the certificates are never written.
    return [{ do: 'write', path: config, content, mode: 0o600 }, ...certificates];
  },
  changesToRemove(name, places) {
    const { folder, config } = machineFilesOf(name, places);
    const files = [...CERTIFICATE_FILES.map((file) => certificateFile(folder, file)), config];
    return [...files.map((path): FileChange => ({ do: 'delete', path })), { do: 'prune', path: folder }];
  },
};

function machineFilesOf(
  name: string,
  { dockerMachine: root }: ClientPaths,
): { readonly folder: string; readonly config: string; readonly record: string } {
  const folder = join(root, 'machines', name);
  return { folder, config: join(folder, 'config.json'), record: join(folder, 'machine.json') };
}

function certificateFile(folder: string, file: string): string {
  return join(folder, `${file}.pem`);
}

/** Returns whether the config.json with this name describes any machine of Slipway. */
export async function hasSlipwayMark(name: string, places: ClientPaths): Promise<boolean> {
  const text = await readFileIfExists(machineFilesOf(name, places).config).catch((error: unknown) => {
    // `rm --force` calls this: a file that can't be read must not prevent the removal of a machine.
    if (systemCode(error) === undefined) throw error;
    return undefined;
  });
  return text !== undefined && readOwnerId(text) !== undefined;
}
