// The file that Node starts for `docker-machine`. It answers shell completion without loading what commands need.
import { writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { COMPLETE_COMMAND, runCompletion } from '../completion/answer.ts';
import { resolveSlipwayHome } from '../computer/slipway-home.ts';

const [command, ...words] = process.argv.slice(2);

if (command === COMPLETE_COMMAND) {
  const paths = {
    specFile: join(__dirname, 'completion', 'docker-machine.json'),
    records: process.env.MACHINE_STORAGE_PATH || join(homedir(), '.docker', 'machine'),
    home: resolveSlipwayHome(process.env, homedir()),
  };
  // As a plugin of the docker CLI, the program gets the words after `docker`, `machine` included.
  writeFileSync(1, runCompletion(words[0] === 'machine' ? words.slice(1) : words, paths));
} else void import('../docker-machine/main.ts');
