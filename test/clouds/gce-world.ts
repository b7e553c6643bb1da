import type { Cloud, CloudCall, Guest, Guests } from './cloud.ts';
import type { CloudServer } from './cloud-server.ts';
import type { FirewallRule } from './compute-firewall.ts';
import { API_PATH, notFoundError, PROJECT } from './compute-catalog.ts';

export type Labels = Readonly<Record<string, string>>;
export type MetadataItem = { readonly key: string; readonly value: string };
/** The fields of a request that the double reads; the schema checks all of them. */
export type InstanceProperties = {
  readonly description?: string;
  readonly machineType: string;
  readonly labels?: Labels;
  readonly tags?: { readonly items?: readonly string[] };
  readonly metadata?: { readonly items?: readonly MetadataItem[] };
  readonly disks?: readonly {
    readonly boot?: boolean;
    readonly autoDelete?: boolean;
    readonly initializeParams?: {
      readonly sourceImage?: string;
      readonly diskSizeGb?: string;
      readonly diskType?: string;
      readonly labels?: Labels;
    };
  }[];
  readonly networkInterfaces?: readonly {
    readonly network?: string;
    readonly subnetwork?: string;
    readonly accessConfigs?: readonly { readonly natIP?: string; readonly type?: string; readonly name?: string }[];
  }[];
  readonly scheduling?: Readonly<Record<string, unknown>>;
  readonly guestAccelerators?: readonly { readonly acceleratorType: string; readonly acceleratorCount?: number }[];
};

export type ListedResource = { readonly name: string; readonly place: string; readonly made: number };
export type GceInstance = ListedResource & {
  properties: InstanceProperties;
  status: 'PROVISIONING' | 'STAGING' | 'RUNNING' | 'STOPPING' | 'TERMINATED' | 'SUSPENDING' | 'SUSPENDED';
  labels: Labels;
  tags: readonly string[];
  metadata: readonly MetadataItem[];
  guestAttributes: readonly (MetadataItem & { readonly namespace: string })[] | undefined;
  /** Whether its insert is done: until then it does not show, and can't be changed. */
  isReady: boolean;
  guest: Guest | undefined;
  address: string | undefined;
  readonly internalIp: string;
};
export type Disk = ListedResource & {
  readonly type: string;
  sizeGb: string;
  labels: Labels;
  attachedInstance: string | undefined;
  readonly autoDelete: boolean;
};
export type Address = ListedResource & {
  readonly ip: string;
  readonly description: string;
  readonly labels: Labels;
  isReady: boolean;
};
export type ComputeFirewallRule = ListedResource &
  Omit<FirewallRule, 'sourceRanges' | 'priority'> & {
    readonly description: string;
    priority: number;
    sourceRanges: readonly string[];
    isReady: boolean;
  };
export type OperationError = { readonly code: string; readonly message: string };
export type Operation = ListedResource & {
  readonly scope: 'zones' | 'regions' | 'global';
  readonly type: string;
  readonly target: string;
  status: 'PENDING' | 'RUNNING' | 'DONE';
  error: OperationError | undefined;
  readonly done: Promise<void>;
};
export type RequestParams = Readonly<Record<string, string>>;

export type Gce = Cloud & {
  readonly instances: readonly GceInstance[];
  /** The rules that somebody created. Lists also show Google's own rules of the network `default`. */
  readonly rules: readonly ComputeFirewallRule[];
  /** Returns whether all rules together allow this address to connect to the port of the instance. */
  isConnectionAllowed(address: string, port: number, instance: string): boolean;
  /** Removes a rule, as somebody might in the console. */
  removeRule(name: string): void;
  readonly addresses: readonly Address[];
  /** Adds an instance of somebody else, without a request. */
  addInstance(how: {
    readonly name: string;
    readonly zone: string;
    readonly labels?: Labels;
    readonly keys?: string;
  }): GceInstance;
  addRule(name: string): void;
  addAddress(name: string, region: string, ip: string): void;
  addDisk(name: string, zone: string, labels: Labels): void;
  /** Returns the error with which an operation fails; undefined if it succeeds. */
  onOperation: (call: CloudCall) => OperationError | undefined;
  /** Zones and regions that aggregated lists could not ask. */
  unreachable: readonly string[];
  quotas: Readonly<Record<string, { readonly limit: number; readonly usage: number }>>;
  /** The public keys, in PEM, of the service accounts that may sign in, by email. */
  readonly serviceAccountKeys: Map<string, string>;
  /** Whether operations have the method `wait`, and not only `get`. */
  supportsWait: boolean;
  /**
   * Whether it is an emulator: an operation is done as soon as it is answered, with few fields, and lists ignore
   * filters.
   */
  isEmulator: boolean;
};

/** Everything that the methods of one double of Compute Engine read and change. */
export type GceWorld = {
  readonly cloud: Gce & CloudServer;
  readonly guests: Guests;
  readonly instances: GceInstance[];
  readonly disks: Disk[];
  readonly addresses: Address[];
  readonly rules: ComputeFirewallRule[];
  /** Google's own rules of the network `default`. */
  readonly defaultRules: readonly ComputeFirewallRule[];
  readonly operations: Operation[];
  /** The request and the operation of each request id. */
  readonly requests: Map<string, { readonly what: string; readonly operation: Operation; readonly at: number }>;
  readonly tokens: Set<string>;
  nextNumber(): number;
};

/** A method of the API. */
export type Method = (
  world: GceWorld,
  params: RequestParams,
  body: unknown,
  call: CloudCall,
) => object | Promise<object>;
export type Methods = Readonly<Record<string, Method>>;

export const linkTo = (path: string): string => `https://www.googleapis.com${API_PATH}projects/${PROJECT}/${path}`;

export const removeFrom = <T>(all: T[], one: T): void => void (all.includes(one) && all.splice(all.indexOf(one), 1));

/** Returns the resource with this name, once its insert is done. */
export function requireResource<T extends ListedResource & { readonly isReady?: boolean }>(
  all: readonly T[],
  name: string | undefined,
  place: string,
  kind: string,
): T {
  const found = all.find((one) => one.name === name && one.place === place && one.isReady !== false);
  if (!found) throw notFoundError(`projects/${PROJECT}/${place}/${kind}/${name}`);
  return found;
}

/** Returns the instance that uses an address, if any. */
export function userOf({ instances }: GceWorld, { ip }: Address): GceInstance | undefined {
  return instances.find(({ properties }) => properties.networkInterfaces?.[0]?.accessConfigs?.[0]?.natIP === ip);
}
