// Preloaded by bench/run.mjs: tells how much memory a program has taken at the most, in MB, once it ends.
import { writeFileSync } from 'node:fs';

process.on('exit', () => {
  writeFileSync(process.env.BENCH_MEMORY, String(Math.round(process.resourceUsage().maxRSS / 1024)));
});
