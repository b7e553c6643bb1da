import type { LsState } from './machine-filter.ts';
import type { PortDocument } from '../link/link-state.ts';

/** A machine as `ls` lists it. */
export type MachineListRow = {
  readonly name: string;
  readonly current: boolean;
  readonly driver: string;
  readonly state: LsState;
  readonly url: string;
  readonly engine: string;
  readonly certificateDays: number | null;
  readonly deadline: string | null;
  readonly idleStop: string | null;
  /** The ports that its containers publish, on this computer. */
  readonly ports: readonly PortDocument[];
  readonly trouble: string;
};

/** The fields of `ls --format`, and their titles in a table. */
export const COLUMN_TITLES = {
  Name: 'NAME',
  Current: 'CURRENT',
  Driver: 'DRIVER',
  State: 'STATE',
  URL: 'URL',
  Engine: 'ENGINE',
  CertificateDays: 'CERTS',
  Deadline: 'DEADLINE',
  IdleStop: 'IDLE STOP',
  Ports: 'PORTS',
  Trouble: 'TROUBLE',
} as const;
