// `slipway` begins here: what a shell asks at each Tab is answered without what commands need.
import { writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { COMPLETE, completed } from './completing.ts';
import { homeIn } from './home.ts';

const [asked, ...words] = process.argv.slice(2);

if (asked === COMPLETE) {
  const home = homeIn(process.env, homedir());
  writeFileSync(
    1,
    completed(words, { declarations: join(__dirname, 'completion', 'slipway.json'), records: home, home }),
  );
} else void import('./main.ts');
