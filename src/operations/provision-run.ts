import type { CreatedMachine, Machine, SshTarget } from '../machine/model.ts';
import type { RenewalScope } from '../provision/certificates.ts';
import type { DaemonSettings } from '../provision/daemon-json.ts';
import type { SaveCheckpoint } from './checkpoint.ts';
import type { SshRetryPolicy } from './host-session.ts';

/** The input of `provisionToReady`: one attempt to make a machine ready, whether it is new or exists already. */
export type ProvisionRun = {
  /** The machine as its record was at the start of the run, but with the spec and the deadline that the run applies. */
  readonly machine: Machine;
  /** The settings for daemon.json that follow from the engine options in the spec. */
  readonly engineSettings: DaemonSettings;
  /** Saves the record after each stage, so that an interrupted run can continue from there. */
  readonly save: SaveCheckpoint;
  /** Which certificates to renew even if they are still valid; absent if none. */
  readonly renewal?: RenewalScope | undefined;
};

/** A run that provisions the host over SSH; `retry` says for how long to retry the connection. */
export type SshProvisionRun = ProvisionRun & { readonly retry: SshRetryPolicy };

/** A created machine whose host Slipway provisions over SSH. */
export type SshMachine = CreatedMachine & { readonly host: { readonly ssh: SshTarget } };
