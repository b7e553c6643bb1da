import type { CreatedMachine, Machine, SshTarget } from '../machine/model.ts';
import type { RenewalScope } from '../provision/certificates.ts';
import type { DaemonSettings } from '../provision/daemon-json.ts';
import type { Checkpoint } from './checkpoint.ts';
import type { SshRetryPolicy } from './host-session.ts';

/** What a run that makes a machine ready carries from its beginning to its end. */
export type ProvisionRun = {
  /** The machine as its record describes it when the run begins, with the spec that is wanted. */
  readonly machine: Machine;
  /** The engine settings that the user chose; computed once, when the spec was validated. */
  readonly engineSettings: DaemonSettings;
  readonly save: Checkpoint;
  /** Replaces certificates that are still valid. */
  readonly renewal?: RenewalScope | undefined;
};

/** A run that visits a host over SSH, and how long it tries to connect. */
export type HostRun = ProvisionRun & { readonly retry: SshRetryPolicy };

/** A machine whose host Slipway reaches over SSH. */
export type SshMachine = CreatedMachine & { readonly host: { readonly ssh: SshTarget } };
