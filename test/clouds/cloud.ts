import type { BedHost } from '../bed/bed-host.ts';

/**
 * One request as a provider's server saw it. `n` counts from 1; `params` is the decoded form or JSON body with query.
 */
export type CloudCall = {
  readonly n: number;
  /** `RunInstances`, `compute.instances.insert`. */
  readonly operation: string;
  /** Whether it makes, changes or removes something. */
  readonly mutates: boolean;
  readonly params: Readonly<Record<string, unknown>>;
};

/** What happens to a request instead of a plain answer. */
export type Fault =
  /** Answered with the provider's own error document; nothing is done. */
  | { readonly kind: 'refuse'; readonly status: number; readonly code: string; readonly message: string }
  /** Done, and the connection is cut before the answer. */
  | { readonly kind: 'lose' }
  /** Not done, and the connection is cut. */
  | { readonly kind: 'drop' }
  | { readonly kind: 'slow'; readonly ms: number };

/** A resource as it really is, shown or not. */
export type Resource = {
  readonly kind: string;
  readonly id: string;
  /** Of the provider's own words: running, terminated … */
  readonly state: string;
  /** Whether it still exists for the one who pays: not terminated, not deleted. */
  readonly alive: boolean;
  readonly tags: Readonly<Record<string, string>>;
};

/** A server of our own that speaks a provider's protocol. Listens on 127.0.0.1. */
export type Cloud = AsyncDisposable & {
  readonly url: string;
  /** What a user sets to reach it: endpoint and made-up credentials. */
  readonly env: Readonly<Record<string, string>>;
  readonly calls: readonly CloudCall[];
  /** Asked as a request arrives, before anything is done. May be set by a test; may kill the client first. */
  onArrival: (call: CloudCall) => Fault | undefined | Promise<Fault | undefined>;
  /** Told when an answer has left. */
  onAnswered: (call: CloudCall) => void;
  /** Everything that was ever made and is alive, also what is not shown yet. */
  listAlive(): readonly Resource[];
  /** Milliseconds before something new is shown by calls that list or describe, and before a pending instance runs. */
  lateness: number;
  bootTime: number;
};

/** What an instance of a cloud really is. */
export type Guest = {
  readonly address: string;
  readonly host: BedHost | undefined;
  /** Keeps its disk. */
  stop(): Promise<void>;
  /** Comes back at another address, which it returns. */
  start(): Promise<string>;
  remove(): Promise<void>;
};

/**
 * Makes what is behind an instance. `boot` runs the first time, with the user data or metadata that the instance was
 * given.
 */
export type Guests = {
  start(how: { readonly name: string; readonly userData: Readonly<Record<string, string>> }): Promise<Guest>;
};

/** How a double of a cloud starts. */
export type CloudOptions = {
  readonly guests: Guests;
} & Partial<Pick<Cloud, 'lateness' | 'bootTime'>>;
