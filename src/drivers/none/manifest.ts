import { defineManifest } from '../contract.ts';
import { noneOptions } from './options.ts';

export const none = defineManifest({
  kind: 'existing',
  name: 'none',
  summary: 'an engine that already runs, by URL',
  retainedOnRemove: 'the engine stays as it is',
  options: noneOptions,
  changeKindOf() {
    // The driver created nothing: its options only say where the engine is.
    return 'live';
  },
  load: () => import('./driver.ts'),
});
