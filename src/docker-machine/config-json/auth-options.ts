/** `HostOptions.AuthOptions` of config.json, in both directions: the certificate authority that signs for a machine. */
import { join } from 'node:path';
import { fieldsOrEmpty, nonEmptyString, type ConfigJsonFields } from './fields.ts';
import { migrateToVersion3 } from './versions.ts';
import { parseJson } from '../../parse-json.ts';

/** The files of an authority, by their paths. */
export type AuthorityPaths = {
  readonly ca: string;
  readonly caKey: string;
  readonly cert: string;
  readonly key: string;
};

/** The files that replace the store's own. */
export type AuthorityOverrides = { readonly [Which in keyof AuthorityPaths]?: AuthorityPaths[Which] | undefined };

type AuthOptionsInput = {
  readonly name: string;
  /** The store's root: `~/.docker/machine`. */
  readonly root: string;
  readonly authority: AuthorityOverrides;
  /** The server certificate's names in addition to the machine's address. */
  readonly tlsSan: readonly string[];
};

/**
 * Returns the member. A machine keeps the authority of the replaced file (`before`), unless the caller names another.
 */
export function writeAuthOptions(
  { name, root, authority, tlsSan }: AuthOptionsInput,
  before: ConfigJsonFields,
): ConfigJsonFields {
  const certs = join(root, 'certs');
  const folder = join(root, 'machines', name);
  return {
    CertDir: nonEmptyString(before.CertDir) ?? certs,
    CaCertPath: authority.ca ?? nonEmptyString(before.CaCertPath) ?? join(certs, 'ca.pem'),
    CaPrivateKeyPath: authority.caKey ?? nonEmptyString(before.CaPrivateKeyPath) ?? join(certs, 'ca-key.pem'),
    CaCertRemotePath: '',
    ServerCertPath: join(folder, 'server.pem'),
    ServerKeyPath: join(folder, 'server-key.pem'),
    ClientKeyPath: authority.key ?? nonEmptyString(before.ClientKeyPath) ?? join(certs, 'key.pem'),
    ServerCertRemotePath: '',
    ServerKeyRemotePath: '',
    ClientCertPath: authority.cert ?? nonEmptyString(before.ClientCertPath) ?? join(certs, 'cert.pem'),
    ServerCertSANs: tlsSan,
    StorePath: folder,
  };
}

/** Returns the authority's files that the text of a config.json names; none if it is not JSON. */
export function readAuthorityPaths(text: string, folder: string): AuthorityOverrides {
  const parsed = parseJson(text);
  if (parsed === undefined) return {};
  const config = fieldsOrEmpty(parsed);
  const version = typeof config.ConfigVersion === 'number' ? config.ConfigVersion : 0;
  const { HostOptions } = migrateToVersion3(config, version, folder);
  const auth = fieldsOrEmpty(fieldsOrEmpty(HostOptions).AuthOptions);
  return {
    ca: nonEmptyString(auth.CaCertPath),
    caKey: nonEmptyString(auth.CaPrivateKeyPath),
    cert: nonEmptyString(auth.ClientCertPath),
    key: nonEmptyString(auth.ClientKeyPath),
  };
}
