import { SlipwayError } from '../../errors.ts';

export const RETRY_HINT = 'Try again in a minute; the resources created so far are kept';

/** Returns the hint for a request that the provider refused. `provider` is the name that its users know: `AWS`. */
export const fixHint = (provider: string): string => `Fix what ${provider} names, then try again`;

/** Returns the error for a machine whose instance no longer exists at the provider. */
export function instanceGoneError(name: string, provider: string): SlipwayError {
  return new SlipwayError('MACHINE_NOT_FOUND', `The instance of "${name}" no longer exists in ${provider}`, {
    hint: `Remove the machine: slipway rm ${name}`,
  });
}
