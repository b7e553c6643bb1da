/**
 * The logins in the engine's URLs: `--engine-repository-url` and `--engine-install-url`. The URLs appear in records,
 * plans and files that everybody on a host can read, so each login is separated from its URL where options are parsed.
 */
import { requireUsableLogin, separateLogin } from '../url-login.ts';
import type { EngineSpec } from './model.ts';

type EngineLoginKey = 'repositoryLogin' | 'installLogin';

/** The URLs that may contain a login, and where each login is kept. */
export const ENGINE_LOGINS = [
  { urlKey: 'repositoryUrl', loginKey: 'repositoryLogin', file: 'repository-login', flag: '--engine-repository-url' },
  { urlKey: 'installUrl', loginKey: 'installLogin', file: 'install-login', flag: '--engine-install-url' },
] as const satisfies readonly {
  readonly urlKey: keyof EngineSpec;
  readonly loginKey: EngineLoginKey;
  /** The file in a machine's folder that only its user can read. */
  readonly file: string;
  readonly flag: string;
}[];

/**
 * Separates the logins from the engine's URLs. A URL without a login keeps the one that the machine has for the same
 * URL. Throws USAGE for a login that can't be sent to a host.
 */
export function withSeparateLogins(engine: EngineSpec, before?: EngineSpec): EngineSpec {
  let separate = withoutLogins(engine);
  for (const { urlKey, loginKey, flag } of ENGINE_LOGINS) {
    const value = engine[urlKey];
    if (value === undefined) continue;
    const { url, login = before?.[urlKey] === value ? before[loginKey] : undefined } = separateLogin(value);
    if (login === undefined) continue;
    requireUsableLogin(login, flag);
    separate = { ...separate, [urlKey]: url, [loginKey]: login };
  }
  return separate;
}

/** Returns the engine's settings without the logins. */
export function withoutLogins(engine: EngineSpec): EngineSpec {
  const { repositoryLogin: _repository, installLogin: _install, ...rest } = engine;
  return rest;
}

/** Returns whether this is the key of a login, whose value no output may contain. */
export function isLoginKey(key: string): key is EngineLoginKey {
  return ENGINE_LOGINS.some(({ loginKey }) => loginKey === key);
}
