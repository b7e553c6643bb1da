/**
 * Returns the pattern of the package versions that `--engine-version` names: `20.10` is the beginning of a version, and
 * `20.10.2` is one version, which 20.10.24 and 20.10.2~rc.1 are not. The epoch, which users rarely type, may be absent.
 * JavaScript and the hosts' awk read the pattern in the same way, so that plan and script agree.
 */
export function versionPattern(wanted: string): string {
  const epoch = /^\d+:/.test(wanted) ? '' : '([0-9]+:)?';
  return `^${epoch}${wanted.replaceAll(/[.+]/g, '[$&]')}${boundaryAfter(wanted)}`;
}

/** Returns what may follow the wanted text, so that it ends where a part of the version ends. */
function boundaryAfter(wanted: string): string {
  if (/^(\d+:)?\d+\.\d+\.\d+$/.test(wanted)) return '($|[^0-9.~]|~[^abdrt])';
  if (/\d$/.test(wanted)) return '($|[^0-9])';
  return /[A-Za-z]$/.test(wanted) ? '($|[^A-Za-z])' : '';
}

/** Returns whether a package's version is one that `--engine-version` names. */
export function isVersionNamed(version: string, wanted: string): boolean {
  return new RegExp(versionPattern(wanted)).test(version);
}
