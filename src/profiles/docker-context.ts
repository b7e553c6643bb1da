import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { readFileIfExists, type FileChange } from '../computer/files.ts';
import { SlipwayError } from '../errors.ts';
import type { ClientPaths, Profile } from './profile.ts';

/** `default` is the docker CLI's own word for "no context", and it takes no name of one letter: such machines get another. */
export function contextName(machine: string): string {
  return machine === 'default' || machine.length === 1 ? `slipway-${machine}` : machine;
}

/** The docker CLI's own store: contexts/meta/ID/meta.json and contexts/tls/ID/docker/*.pem, where ID is the name's SHA-256. */
export const dockerContextProfile: Profile = {
  name: 'docker-context',
  summary: 'a context of the docker CLI: docker --context NAME',
  async findConflict(name, id, places) {
    const owner = await readContextOwner(contextName(name), places);
    if (owner === undefined || owner === id) return undefined;
    return new SlipwayError(
      'CONTEXT_TAKEN',
      `There is a docker context named "${contextName(name)}" already, and Slipway did not make it for this machine`,
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
    // The description comes last: a context is there once it can be used.
    return [
      ...certificates,
      { do: 'write', path: join(meta, 'meta.json'), content: JSON.stringify(description), mode: 0o644 },
    ];
  },
  changesToRemove(name, places) {
    const { meta, tls } = contextFoldersOf(contextName(name), places);
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

/** The Slipway id in the context of this name; '' for somebody else's context, undefined where there is none. */
export async function readContextOwner(name: string, places: ClientPaths): Promise<string | undefined> {
  const text = await readFileIfExists(join(contextFoldersOf(name, places).meta, 'meta.json'));
  if (text === undefined) return undefined;
  try {
    const meta = JSON.parse(text) as { Metadata?: { 'slipway-id'?: string } };
    return meta.Metadata?.['slipway-id'] ?? '';
  } catch (error) {
    if (error instanceof SyntaxError) return '';
    throw error;
  }
}
