import type { FileChange } from '../computer/files.ts';
import type { SlipwayError } from '../errors.ts';
import type { ClientCertificates, ReadyMachine } from '../machine/model.ts';

/** The folders in which this user's clients keep their settings. */
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

/** One client's connection settings for a machine, as local files. */
export type Profile = {
  readonly name: string;
  readonly summary: string;
  /**
   * Returns an error where `changesToAdd` would overwrite files that do not belong to the machine with this id. Asked
   * before a creation does anything.
   */
  findConflict(name: string, id: string, paths: ClientPaths): Promise<SlipwayError | undefined>;
  changesToAdd(input: ProfileInput): readonly FileChange[];
  /** Takes no more than the machine's name, so that `rm` works in any phase. */
  changesToRemove(name: string, paths: ClientPaths): readonly FileChange[];
};
