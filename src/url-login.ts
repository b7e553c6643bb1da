/**
 * The login in a URL, such as https://user:token@mirror.example. URLs appear in records, plans, command lines and files
 * that everybody on a computer can read, so a login is separated from its URL, or refused.
 */
import { SlipwayError } from './errors.ts';

/** The authority of a URL ends at the first slash; its login ends at the last @ of the authority. */
const LOGIN_IN_URL = /^([a-z][a-z0-9+.-]*:\/\/)([^/?#\\]*)@(.*)$/is;

export type SeparatedUrl = {
  /** The URL without the login. */
  readonly url: string;
  /** `user:password`, as in the URL; undefined if it has none. */
  readonly login: string | undefined;
};

/** Separates the login from a URL. */
export function separateLogin(url: string): SeparatedUrl {
  const [, scheme = '', login, rest = ''] = LOGIN_IN_URL.exec(url) ?? [];
  return login === undefined ? { url, login } : { url: scheme + rest, login };
}

/** Returns whether a URL in a text contains a login. */
export function hasLogin(text: string): boolean {
  return /[a-z][a-z0-9+.-]*:\/\/[^\s/?#\\"']*@/i.test(text);
}

/** Returns a text with all logins replaced by `…`, also those of URLs without a scheme or with other mistakes. */
export function hideLogins(text: string): string {
  return text.replaceAll(/([a-z][a-z0-9+.-]*:\/\/)[^\s"'<>]*@/gi, '$1…@').replaceAll(/[\w.%-]+:[^\s"'<>/@]+@/g, '…@');
}

/**
 * Requires a login that apt's file of logins can hold. `flag` is the flag with the URL. Throws USAGE, without the
 * login.
 */
export function requireUsableLogin(login: string, flag: string): void {
  if (isUsableLogin(login)) return;
  throw new SlipwayError('USAGE', `${flag} must contain a user and a password without spaces`, {
    hint: 'Write it as https://USER:PASSWORD@HOST/PATH, with special characters as %XX',
  });
}

/** Returns whether apt's file of logins can hold a login. */
function isUsableLogin(login: string): boolean {
  const { user, password } = parseLogin(login);
  return user !== '' && password !== '' && !/\s/.test(user + password);
}

/** Splits `user:password` of a URL, and decodes both. */
function parseLogin(login: string): { readonly user: string; readonly password: string } {
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

/** Returns the line with which apt logs in to a URL, for a file in auth.conf.d. */
export function formatAptLogin(url: string, login: string): string {
  const { user, password } = parseLogin(login);
  // apt sends a login over http only if the file says so.
  return `machine ${url.replace(/^https:\/\//i, '')} login ${user} password ${password}\n`;
}
