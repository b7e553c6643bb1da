// Preloaded by bench/run.mjs: writes a program's peak memory in MB to a file when the program exits.
import { writeFileSync } from 'node:fs';

process.on('exit', () => {
  writeFileSync(process.env.BENCH_MEMORY, String(Math.round(process.resourceUsage().maxRSS / 1024)));
});
