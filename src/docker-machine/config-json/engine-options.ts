/** `HostOptions.EngineOptions` of config.json, in both directions. */
import type { EngineSpec } from '../../machine/model.ts';
import { separateLogin } from '../../url-login.ts';
import { nonEmptyString, stringList, unknownFields, type ConfigJsonFields } from './fields.ts';

const INSTALL_URL = 'https://get.docker.com';

/** Returns the member. Settings that Slipway does not have are kept from `before`, the member of the replaced file. */
export function writeEngineOptions(engine: EngineSpec, before: ConfigJsonFields): ConfigJsonFields {
  const known = {
    ArbitraryFlags: engine.opt,
    Dns: before.Dns ?? null,
    GraphDir: before.GraphDir ?? '',
    // Names only: the address of a proxy may hold a password.
    Env: engine.env.map((pair) => pair.split('=', 1)[0]),
    Ipv6: before.Ipv6 ?? false,
    InsecureRegistry: engine.insecureRegistry,
    Labels: engine.label,
    LogLevel: before.LogLevel ?? '',
    StorageDriver: engine.storageDriver ?? '',
    SelinuxEnabled: before.SelinuxEnabled ?? false,
    TlsVerify: true,
    RegistryMirror: engine.registryMirror,
    InstallURL: engine.source === 'none' ? 'none' : (engine.installUrl ?? INSTALL_URL),
  };
  return { ...known, ...unknownFields(before, known) };
}

/** Returns the engine's settings; those that config.json does not have come from `defaults`. */
export function readEngineOptions(values: ConfigJsonFields, defaults: EngineSpec): EngineSpec {
  const storageDriver = nonEmptyString(values.StorageDriver);
  return {
    ...defaults,
    ...readEngineSource(nonEmptyString(values.InstallURL)),
    opt: stringList(values.ArbitraryFlags),
    label: stringList(values.Labels),
    // A file that Slipway wrote has only names; without values they are of no use.
    env: stringList(values.Env).filter((pair) => pair.includes('=')),
    registryMirror: stringList(values.RegistryMirror),
    insecureRegistry: stringList(values.InsecureRegistry),
    ...(storageDriver === undefined ? {} : { storageDriver }),
  };
}

function readEngineSource(value: string | undefined): Partial<Pick<EngineSpec, 'source' | 'installUrl'>> {
  if (value === 'none') return { source: 'none' };
  if (value === undefined || value === INSTALL_URL || !/^(https?|file):\/\/\S+$/.test(value)) return {};
  // The record must contain no login. The file's is needed no more: its machine has an engine.
  return { source: 'url', installUrl: separateLogin(value).url };
}
