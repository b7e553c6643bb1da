import { debian } from './debian.ts';
import type { Distro } from './distro.ts';

/** One line per distribution. */
export const distros: readonly Distro[] = [debian];
