// `docker-machine` begins here: what a shell asks at each Tab is answered without what commands need.
import { writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { COMPLETE_COMMAND, runCompletion } from '../completion/answer.ts';
import { resolveSlipwayHome } from '../computer/slipway-home.ts';

const [asked, ...words] = process.argv.slice(2);

if (asked === COMPLETE_COMMAND) {
  const place = {
    declarations: join(__dirname, 'completion', 'docker-machine.json'),
    records: process.env.MACHINE_STORAGE_PATH || join(homedir(), '.docker', 'machine'),
    home: resolveSlipwayHome(process.env, homedir()),
  };
  // The docker CLI asks its plugin for what follows `docker`.
  writeFileSync(1, runCompletion(words[0] === 'machine' ? words.slice(1) : words, place));
} else void import('../docker-machine/main.ts');
