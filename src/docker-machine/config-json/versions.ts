import { dirname, join } from 'node:path';
import { fieldsOrEmpty, isFields, nonEmptyString, type ConfigJsonFields } from './fields.ts';

/** The last version that Docker Machine wrote. */
export const NEWEST_VERSION = 3;

/**
 * Converts the parts of an older config.json that Slipway reads, as Docker Machine does. The file itself does not
 * change. `folder` is the machine's: `ROOT/machines/NAME`.
 */
export function migrateToVersion3(config: ConfigJsonFields, version: number, folder: string): ConfigJsonFields {
  if (version >= NEWEST_VERSION) return config;
  const root = dirname(dirname(folder));
  const options = fieldsOrEmpty(config.HostOptions);
  const isFlat = version === 0;
  return {
    ...config,
    Driver: isFields(config.Driver) ? { ...config.Driver, StorePath: root } : config.Driver,
    HostOptions: {
      ...options,
      // Version 0 had no engine options, so any in the file are ignored.
      EngineOptions: isFlat ? {} : fieldsOrEmpty(options.EngineOptions),
      AuthOptions: migrateAuthOptions(fieldsOrEmpty(options.AuthOptions), isFlat ? config : {}, root),
    },
  };
}

/** Version 0 had the authority's paths at the top level (`flat`); version 1 called the key `PrivateKeyPath`. */
function migrateAuthOptions(auth: ConfigJsonFields, flat: ConfigJsonFields, root: string): ConfigJsonFields {
  const path = (...candidates: readonly unknown[]): string =>
    candidates.map(nonEmptyString).find((candidate) => candidate !== undefined) ?? '';
  return {
    ...auth,
    CertDir: path(auth.CertDir, join(root, 'certs')),
    CaCertPath: path(flat.CaCertPath, auth.CaCertPath),
    CaPrivateKeyPath: path(flat.PrivateKeyPath, auth.CaPrivateKeyPath, auth.PrivateKeyPath),
    ClientCertPath: path(flat.ClientCertPath, auth.ClientCertPath),
    ClientKeyPath: path(flat.ClientKeyPath, auth.ClientKeyPath),
  };
}
