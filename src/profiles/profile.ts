import type { FileChange } from '../computer/files.ts';
import type { SlipwayError } from '../errors.ts';
import type { ClientCertificates, ReadyMachine } from '../machine/model.ts';

/** The folders of this user's client settings. */
export type ClientPaths = {
  readonly dockerConfig: string;
  /** OpenSSH's folder, `~/.ssh`. */
  readonly ssh: string;
  /** Docker Machine's store, `~/.docker/machine`. */
  readonly dockerMachine: string;
};

export type ProfileInput = {
  readonly machine: ReadyMachine;
  readonly tls: ClientCertificates | undefined;
  readonly clientPaths: ClientPaths;
};

/** One client's connection settings for a machine, as local files. */
export type Profile = {
  readonly name: string;
  readonly summary: string;
  /**
   * Returns an error if `changesToAdd` would overwrite files that do not belong to the machine with this id. A creation
   * calls this before it does anything else.
   */
  findConflict(name: string, id: string, paths: ClientPaths): Promise<SlipwayError | undefined>;
  changesToAdd(input: ProfileInput): readonly FileChange[];
  /** Requires only the machine's name, so that `rm` works in any phase. */
  changesToRemove(name: string, paths: ClientPaths): readonly FileChange[];
};
