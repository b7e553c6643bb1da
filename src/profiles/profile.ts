import type { FileChange } from '../computer/files.ts';
import type { ClientCertificates, ReadyMachine } from '../machine/model.ts';
import type { SlipwayError } from '../errors.ts';

/** Where the clients of this user keep their settings. */
export type ClientPaths = {
  readonly dockerConfig: string;
  /** The folder of OpenSSH's settings. */
  readonly ssh: string;
  /** The store of the old docker-machine. */
  readonly dockerMachine: string;
};

export type ProfileInput = {
  readonly machine: ReadyMachine;
  readonly tls: ClientCertificates | undefined;
  readonly clientPaths: ClientPaths;
};

/** A client's connection settings as local files. `drop` needs no more than a name, so that `rm` works in any phase. */
export type Profile = {
  readonly name: string;
  readonly summary: string;
  /** The files of another's that `add` would overwrite, if any: asked before a create does anything. */
  findConflict(name: string, id: string, places: ClientPaths): Promise<SlipwayError | undefined>;
  changesToAdd(input: ProfileInput): readonly FileChange[];
  changesToRemove(name: string, places: ClientPaths): readonly FileChange[];
};
