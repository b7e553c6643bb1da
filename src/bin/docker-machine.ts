// `docker-machine` begins here: what a shell asks at each Tab is answered without what commands need.
import { writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { COMPLETE, completed } from '../completion/answer.ts';
import { homeIn } from '../computer/slipway-home.ts';

const [asked, ...words] = process.argv.slice(2);

if (asked === COMPLETE) {
  const place = {
    declarations: join(__dirname, 'completion', 'docker-machine.json'),
    records: process.env.MACHINE_STORAGE_PATH || join(homedir(), '.docker', 'machine'),
    home: homeIn(process.env, homedir()),
  };
  // The docker CLI asks its plugin for what follows `docker`.
  writeFileSync(1, completed(words[0] === 'machine' ? words.slice(1) : words, place));
} else void import('../docker-machine/main.ts');
