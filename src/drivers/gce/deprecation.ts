/** How far the life of a machine type, an image or a disk type has ended. */
export type Deprecation = { readonly state?: string };

/** Returns whether Google refuses new instances of it. Those that are only deprecated still work. */
export function isUnavailable(deprecated: Deprecation | undefined): boolean {
  return ['OBSOLETE', 'DELETED'].includes(deprecated?.state ?? '');
}
