import type { BedHost } from '../bed/bed-host.ts';

/**
 * A request as the provider's server received it. `n` counts from 1; `params` are the decoded form, or the query with
 * the JSON body.
 */
export type CloudCall = {
  readonly n: number;
  /** `RunInstances`, `compute.instances.insert`. */
  readonly operation: string;
  /** Whether it creates, changes or deletes a resource. */
  readonly mutates: boolean;
  readonly params: Readonly<Record<string, unknown>>;
};

/** What happens to a request instead of a normal answer. */
export type Fault =
  /** Answers with the provider's own error document, and does nothing. */
  | {
      readonly kind: 'refuse';
      readonly status: number;
      readonly code: string;
      readonly message: string;
      /** The code of the provider's newer format of errors, such as `SERVICE_DISABLED`, if it has one. */
      readonly detailedReason?: string;
    }
  /** Performs the request, and closes the connection before the answer. */
  | { readonly kind: 'drop response' }
  /** Does nothing, and closes the connection. */
  | { readonly kind: 'drop request' }
  | { readonly kind: 'slow'; readonly ms: number };

/** A resource in its actual state, whether lists show it yet or not. */
export type Resource = {
  readonly kind: string;
  readonly id: string;
  /** The provider's own word for its state: running, terminated … */
  readonly state: string;
  /** Whether its user still pays for it: it is neither terminated nor deleted. */
  readonly alive: boolean;
  readonly tags: Readonly<Record<string, string>>;
};

/** A double of a provider: a server on 127.0.0.1 that speaks its protocol. */
export type Cloud = AsyncDisposable & {
  readonly url: string;
  /** The variables that a user sets to connect to it: endpoint and made-up credentials. */
  readonly env: Readonly<Record<string, string>>;
  readonly calls: readonly CloudCall[];
  /** Called when a request arrives, before it is performed; returns its fault. A test may set it to kill the client. */
  onArrival: (call: CloudCall) => Fault | undefined | Promise<Fault | undefined>;
  /** Called when an answer has been sent. */
  onAnswered: (call: CloudCall) => void;
  /** Returns all resources that are alive, also those that lists do not show yet. */
  listAlive(): readonly Resource[];
  /** Milliseconds before calls that list or describe show a new resource. */
  lateness: number;
  /** Milliseconds before a pending instance runs. */
  bootTime: number;
};

/** The host behind an instance of a double. */
export type Guest = {
  readonly address: string;
  readonly host: BedHost | undefined;
  /** Stops the host, and keeps its disk. */
  stop(): Promise<void>;
  /** Starts the host again at another address, and returns that address. */
  start(): Promise<string>;
  remove(): Promise<void>;
};

/** Creates the host behind an instance, and boots it with the user data or metadata that the instance was given. */
export type Guests = {
  start(how: { readonly name: string; readonly userData: Readonly<Record<string, string>> }): Promise<Guest>;
};

/** How a double of a cloud starts. */
export type CloudOptions = {
  readonly guests: Guests;
} & Partial<Pick<Cloud, 'lateness' | 'bootTime'>>;
