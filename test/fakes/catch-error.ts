import { SlipwayError } from '../../src/errors.ts';

/** The error for the user that this throws; undefined when it throws none, anything else goes on. */
export function catchError(act: () => unknown): SlipwayError | undefined {
  try {
    act();
    return undefined;
  } catch (error) {
    if (error instanceof SlipwayError) return error;
    throw error;
  }
}

/** As `caught`, of work that takes time. */
export async function catchRejection(work: Promise<unknown>): Promise<SlipwayError | undefined> {
  try {
    await work;
    return undefined;
  } catch (error) {
    if (error instanceof SlipwayError) return error;
    throw error;
  }
}
