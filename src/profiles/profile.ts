import type { FileChange } from '../computer/files.ts';
import type { ClientCertificates, Ready } from '../machine/model.ts';
import type { SlipwayError } from '../errors.ts';

/** Where the clients of this user keep their settings. */
export type ClientPlaces = {
  readonly dockerConfig: string;
  /** The folder of OpenSSH’s settings. */
  readonly ssh: string;
  /** The store of the old docker-machine. */
  readonly dockerMachine: string;
};

export type ProfileInput = {
  readonly machine: Ready;
  readonly tls: ClientCertificates | undefined;
  readonly places: ClientPlaces;
};

/** A client's connection settings as local files. `drop` needs no more than a name, so that `rm` works in any phase. */
export type Profile = {
  readonly name: string;
  readonly summary: string;
  /** The files of another's that `add` would overwrite, if any: asked before a create does anything. */
  conflict(name: string, id: string, places: ClientPlaces): Promise<SlipwayError | undefined>;
  add(input: ProfileInput): readonly FileChange[];
  drop(name: string, places: ClientPlaces): readonly FileChange[];
};
