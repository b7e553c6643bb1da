/**
 * The login in `--engine-repository-url`, such as https://user:token@mirror.example. The URL appears in records, plans
 * and files that everybody on a host can read, so the login is separated from it where options are parsed.
 */
import { SlipwayError } from '../errors.ts';
import type { EngineSpec } from './model.ts';

const LOGIN_IN_URL = /^(https?:\/\/)([^/@]+)@(.+)$/;

/**
 * Separates the login from the repository's URL. A URL without a login keeps the one that the machine has for the same
 * URL. Throws USAGE for a login that apt's file can't hold.
 */
export function withRepositoryLogin(engine: EngineSpec, before?: EngineSpec): EngineSpec {
  const { repositoryLogin: _present, ...rest } = engine;
  const [, scheme = '', login, path = ''] = LOGIN_IN_URL.exec(engine.repositoryUrl ?? '') ?? [];
  if (login !== undefined) {
    requireUsableLogin(login);
    return { ...rest, repositoryUrl: scheme + path, repositoryLogin: login };
  }
  const kept = engine.repositoryUrl === before?.repositoryUrl ? before?.repositoryLogin : undefined;
  return kept === undefined ? rest : { ...rest, repositoryLogin: kept };
}

function requireUsableLogin(login: string): void {
  const { user, password } = parseLogin(login);
  if (user !== '' && password !== '' && !/\s/.test(user + password)) return;
  throw new SlipwayError('USAGE', '--engine-repository-url must contain a user and a password without spaces', {
    hint: 'Write it as https://USER:PASSWORD@HOST/PATH, with special characters as %XX',
  });
}

/** Splits `user:password` of a URL, and decodes both. */
export function parseLogin(login: string): { readonly user: string; readonly password: string } {
  const colon = login.indexOf(':');
  const decode = (text: string): string => {
    try {
      return decodeURIComponent(text);
    } catch {
      return text;
    }
  };
  return colon < 0
    ? { user: decode(login), password: '' }
    : { user: decode(login.slice(0, colon)), password: decode(login.slice(colon + 1)) };
}
