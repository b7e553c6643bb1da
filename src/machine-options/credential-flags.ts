import { drivers } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
import { describeOptions, formatList, type OptionSpec, type OptionValues } from '../machine/options.ts';
import { credentialOptionSpecs, driverOptionSpecs } from './option-specs.ts';

/** The parts of a program that credential flags use: its environment for this run, and its output to the user. */
type CredentialContext = {
  readonly setEnvForRun: (variable: string, value: string | undefined) => void;
  readonly say: (line: string) => void;
};

/** Returns the options that select other credentials than the given credential flags, such as a profile's name. */
export function overriddenOptions(flags: OptionValues): readonly OptionSpec[] {
  return drivers.flatMap(({ name, account }) => {
    const { credentials, credentialsOption } = account ?? {};
    const hasFlag = credentials && describeOptions(credentials, name).some(({ flag }) => flags[flag] !== undefined);
    return hasFlag ? (driverOptionSpecs[name] ?? []).filter(({ key }) => key === credentialsOption) : [];
  });
}

/**
 * Applies credential flags to this run, as if the user had set the variables that the provider's own library reads and
 * had selected no other credentials. Throws USAGE if a flag selects others.
 */
export function setCredentialsForRun(flags: OptionValues, { setEnvForRun, say }: CredentialContext): void {
  const credentials = credentialOptionSpecs.filter(({ flag }) => flags[flag] !== undefined);
  const [first] = credentials;
  if (!first) return;
  const overridden = overriddenOptions(flags);
  const conflicting = overridden.find(({ flag }) => flags[flag] !== undefined);
  if (conflicting) {
    throw new SlipwayError('USAGE', `--${first.flag} and --${conflicting.flag} can't be used together`, {
      hint: `Use --${conflicting.flag}: it leaves no secret in the list of processes`,
    });
  }
  for (const { env } of overridden) if (env !== undefined) setEnvForRun(env, undefined);
  for (const { env, flag } of credentials) if (env !== undefined) setEnvForRun(env, String(flags[flag]));
  const flagNames = formatList(credentials.map(({ flag }) => `--${flag}`));
  const variables = formatList(credentials.flatMap(({ env }) => env ?? []));
  say(
    `Every process on this computer can read ${flagNames}, and Slipway does not store them. Set ${variables} instead, for later commands too`,
  );
}
