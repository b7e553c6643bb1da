import type { Cloud, CloudCall, Guest, Guests } from './cloud.ts';
import type { CloudServer } from './cloud-server.ts';
import type { FirewallRule } from './compute-firewall.ts';
import { API_PATH, notFoundError, PROJECT } from './compute-catalog.ts';

export type Labels = Readonly<Record<string, string>>;
export type MetadataItem = { readonly key: string; readonly value: string };
/** As far as we read it; the validator has seen all of it. */
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
  /** Its insert has ended: until then nobody gets it, and it can't be changed. */
  there: boolean;
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
  there: boolean;
};
export type ComputeFirewallRule = ListedResource &
  Omit<FirewallRule, 'sourceRanges' | 'priority'> & {
    readonly description: string;
    priority: number;
    sourceRanges: readonly string[];
    there: boolean;
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
  /** Those that somebody made; Google's own of the network `default` are listed beside them. */
  readonly rules: readonly ComputeFirewallRule[];
  /** Whether all rules together let this address connect to that port of the instance. */
  isConnectionAllowed(address: string, port: number, instance: string): boolean;
  /** Takes a rule away, as somebody might by hand. */
  removeRule(name: string): void;
  readonly addresses: readonly Address[];
  /** Somebody else's, made behind everybody's back. */
  addInstance(how: {
    readonly name: string;
    readonly zone: string;
    readonly labels?: Labels;
    readonly keys?: string;
  }): GceInstance;
  addRule(name: string): void;
  addAddress(name: string, region: string, ip: string): void;
  addDisk(name: string, zone: string, labels: Labels): void;
  /** What becomes of the next operations: undefined lets them be. */
  onOperation: (call: CloudCall) => OperationError | undefined;
  quotas: Readonly<Record<string, { readonly limit: number; readonly usage: number }>>;
  /** Public keys, in PEM, of service accounts that may come in; by email. */
  readonly serviceAccountKeys: Map<string, string>;
  /** Whether operations can be waited for, or asked for only. */
  supportsWait: boolean;
  /**
   * Whether it is an emulator: an operation is done as soon as it is answered, with few fields, and lists know no
   * filters.
   */
  isEmulator: boolean;
};

/** Everything that the methods of one Compute Engine see and change. */
export type GceWorld = {
  readonly cloud: Gce & CloudServer;
  readonly guests: Guests;
  readonly instances: GceInstance[];
  readonly disks: Disk[];
  readonly addresses: Address[];
  readonly rules: ComputeFirewallRule[];
  /** Google's own of the network `default`. */
  readonly googles: readonly ComputeFirewallRule[];
  readonly operations: Operation[];
  /** What each id of a request was used for, and the operation that it began. */
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

/** The resource of this name; what is still being made is not there yet. */
export function requireResource<T extends ListedResource & { readonly there?: boolean }>(
  all: readonly T[],
  name: string | undefined,
  place: string,
  kind: string,
): T {
  const found = all.find((one) => one.name === name && one.place === place && one.there !== false);
  if (!found) throw notFoundError(`projects/${PROJECT}/${place}/${kind}/${name}`);
  return found;
}

/** The instance whose address this is, where one has it. */
export function userOf({ instances }: GceWorld, { ip }: Address): GceInstance | undefined {
  return instances.find(({ properties }) => properties.networkInterfaces?.[0]?.accessConfigs?.[0]?.natIP === ip);
}
