import { buildStartupScript, readUserScript } from '../cloud/user-data.ts';
import type { DriverCall, FirstBootConfig } from '../contract.ts';
import type { GceOptions } from './options.ts';
import { STARTUP_SCRIPT_FLAG } from './validate-options.ts';

/** Google's images run no cloud-init: their guest agent reads keys and a startup script from the metadata. */
const STARTUP_TEMPLATE = 'gce-startup.sh';

/**
 * Builds the metadata of an instance: the user's items, the login key, and a startup script with the bootstrap host
 * key.
 */
export async function buildMetadata(
  options: GceOptions,
  boot: FirstBootConfig,
  call: DriverCall,
): Promise<Readonly<Record<string, string>>> {
  const userItems = Object.fromEntries(
    options.metadata.map((item) => [item.slice(0, item.indexOf('=')), item.slice(item.indexOf('=') + 1)]),
  );
  const userScript =
    options.startupScript === undefined
      ? userItems['startup-script']
      : await readUserScript(options.startupScript, STARTUP_SCRIPT_FLAG);
  const loginKey = options.osLogin ? undefined : `${options.sshUser}:${boot.authorizedKey.trim()}`;
  return {
    ...userItems,
    'enable-oslogin': options.osLogin ? 'TRUE' : 'FALSE',
    'block-project-ssh-keys': 'TRUE',
    'ssh-keys': [userItems['ssh-keys'], loginKey].filter((key) => key !== undefined).join('\n'),
    'startup-script': await buildStartupScript(STARTUP_TEMPLATE, boot, userScript, call.computer),
  };
}
