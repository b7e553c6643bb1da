import type { CreatedMachine, Machine, SshTarget } from '../machine/model.ts';
import type { RenewalScope } from '../provision/certificates.ts';
import type { DaemonSettings } from '../provision/daemon-json.ts';
import type { Checkpoint } from './checkpoint.ts';
import type { SshRetryPolicy } from './host-session.ts';

/** The data of one run that makes a machine ready. */
export type ProvisionRun = {
  /** The machine from its record at the start of the run, but with the wanted spec. */
  readonly machine: Machine;
  /** The engine settings that the user chose; computed once, when the spec was validated. */
  readonly engineSettings: DaemonSettings;
  readonly save: Checkpoint;
  /** Replaces certificates that are still valid. */
  readonly renewal?: RenewalScope | undefined;
};

/** The data of a run that connects to a host over SSH; `retry` says how long it tries. */
export type HostRun = ProvisionRun & { readonly retry: SshRetryPolicy };

/** A machine whose host Slipway reaches over SSH. */
export type SshMachine = CreatedMachine & { readonly host: { readonly ssh: SshTarget } };
