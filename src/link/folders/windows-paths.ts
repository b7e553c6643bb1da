// How paths of Windows appear in a machine, and back: C:\Users\me is /c/Users/me there, as `docker run -v` and Compose
// (with COMPOSE_CONVERT_WINDOWS_PATHS=1) send them.

/** Returns the path in a machine, or undefined for a path that has no drive, such as a network share. */
export function machinePathOfWindows(path: string): string | undefined {
  const match = /^(?:[\\/]{2}[?][\\/])?([A-Za-z]):[\\/](.*)$/s.exec(path);
  if (match === null) return undefined;
  const [, drive = '', rest = ''] = match;
  const names = rest.split(/[\\/]+/).filter((name) => name !== '');
  return ['', drive.toLowerCase(), ...names].join('/');
}

/** Returns the path on Windows, or undefined for one that names no drive or can't exist there. */
export function windowsPathOfMachine(path: string): string | undefined {
  const [empty, drive = '', ...names] = path.split('/');
  const isPath = empty === '' && /^[A-Za-z]$/.test(drive) && names.every(isWindowsName);
  if (!isPath) return undefined;
  return `${drive.toUpperCase()}:\\${names.filter((name) => name !== '').join('\\')}`;
}

const DEVICE_NAME = /^(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(?:$|[ .])/i;

/**
 * Returns whether Windows takes a name as it is. It reads others as something else: a device, a stream of a file, or
 * the same name without its last dots.
 */
export function isWindowsName(name: string): boolean {
  // oxlint-disable-next-line no-control-regex -- Windows refuses control characters in names.
  return !/[\x00-\x1f<>:"\\|?*]/.test(name) && !/[. ]$/.test(name) && !DEVICE_NAME.test(name);
}
