import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { readUserFileIfExists, type FileChange } from '../computer/files.ts';
import { SlipwayError } from '../errors.ts';
import type { ClientPaths, Profile } from './profile.ts';
import { parseJson } from '../parse-json.ts';

/** Returns the name of a machine's context. The docker CLI reserves `default`, and refuses names of one character. */
export function contextName(machine: string): string {
  return machine === 'default' || machine.length === 1 ? `slipway-${machine}` : machine;
}

/**
 * Creates a context in the docker CLI's store: contexts/meta/ID/meta.json and contexts/tls/ID/docker/*.pem. ID is the
 * SHA-256 of the context's name.
 */
export const dockerContextProfile: Profile = {
  name: 'docker-context',
  summary: 'a context of the docker CLI: docker --context NAME',
  async findConflict(name, id, paths) {
    const owner = await readContextOwner(contextName(name), paths);
    if (owner === undefined || owner === id) return undefined;
    return new SlipwayError(
      'CONTEXT_TAKEN',
      `The docker context "${contextName(name)}" already exists, and Slipway did not create it for this machine`,
      {
        hint: `Choose another machine name, or remove it: docker context rm ${contextName(name)}`,
      },
    );
  },
  changesToAdd({ machine, tls, clientPaths }) {
    const name = contextName(machine.spec.name);
    const { meta, tls: folder } = contextFoldersOf(name, clientPaths);
    const description = {
      Name: name,
      Metadata: { Description: `Slipway machine (${machine.spec.driver})`, 'slipway-id': machine.spec.id },
      Endpoints: { docker: { Host: machine.endpoint.url, SkipTLSVerify: false } },
    };
    const certificates = Object.entries(tls ?? {}).map(([file, content]): FileChange => ({
      do: 'write',
      path: join(folder, 'docker', `${file}.pem`),
      content,
      mode: 0o600,
    }));
    // meta.json comes last: the docker CLI lists a context as soon as it exists, and the context must be usable then.
    return [
      ...certificates,
      { do: 'write', path: join(meta, 'meta.json'), content: JSON.stringify(description), mode: 0o644 },
    ];
  },
  changesToRemove(name, paths) {
    const { meta, tls } = contextFoldersOf(contextName(name), paths);
    return [
      { do: 'delete', path: meta },
      { do: 'delete', path: tls },
    ];
  },
};

function contextFoldersOf(
  name: string,
  { dockerConfig }: ClientPaths,
): { readonly meta: string; readonly tls: string } {
  const id = createHash('sha256').update(name).digest('hex');
  return { meta: join(dockerConfig, 'contexts', 'meta', id), tls: join(dockerConfig, 'contexts', 'tls', id) };
}

/** Returns the id of a context's machine; '' if the context is not Slipway's, undefined if it does not exist. */
export async function readContextOwner(name: string, paths: ClientPaths): Promise<string | undefined> {
  const text = await readUserFileIfExists(join(contextFoldersOf(name, paths).meta, 'meta.json'));
  if (text === undefined) return undefined;
  const meta = parseJson(text) as { Metadata?: { 'slipway-id'?: string } } | undefined;
  return meta?.Metadata?.['slipway-id'] ?? '';
}
