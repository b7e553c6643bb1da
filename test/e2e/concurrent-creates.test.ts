import { describeConcurrentCreates } from './concurrent-creates.ts';
import * as providers from './providers.ts';

// The clouds run one after another: a small computer cannot boot hosts for several at once.
for (const provider of Object.values(providers)) describeConcurrentCreates(provider);
