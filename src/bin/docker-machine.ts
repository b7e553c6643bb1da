// Entry point of `docker-machine`. Completion runs at each press of Tab, so it is answered without loading the commands.
import { writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { COMPLETE_COMMAND, runCompletion } from '../completion/answer.ts';
import { resolveSlipwayHome } from '../computer/slipway-home.ts';

const [command, ...words] = process.argv.slice(2);

if (command === COMPLETE_COMMAND) {
  const paths = {
    declarations: join(__dirname, 'completion', 'docker-machine.json'),
    records: process.env.MACHINE_STORAGE_PATH || join(homedir(), '.docker', 'machine'),
    home: resolveSlipwayHome(process.env, homedir()),
  };
  // The docker CLI passes its plugin all words after `docker`, including `machine`.
  writeFileSync(1, runCompletion(words[0] === 'machine' ? words.slice(1) : words, paths));
} else void import('../docker-machine/main.ts');
