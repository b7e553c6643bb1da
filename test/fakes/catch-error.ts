import { SlipwayError } from '../../src/errors.ts';

/** Returns the SlipwayError that `work` throws, or undefined if it throws none; rethrows any other error. */
export function catchError(act: () => unknown): SlipwayError | undefined {
  try {
    act();
    return undefined;
  } catch (error) {
    if (error instanceof SlipwayError) return error;
    throw error;
  }
}

/** Does the same for asynchronous work. */
export async function catchRejection(work: Promise<unknown>): Promise<SlipwayError | undefined> {
  try {
    await work;
    return undefined;
  } catch (error) {
    if (error instanceof SlipwayError) return error;
    throw error;
  }
}
