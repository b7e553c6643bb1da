import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { deleteFile } from '../computer/files.ts';
import { proxyVariablesIn, runChild } from '../computer/child-process.ts';
import type { Computer } from '../computer/computer.ts';
import { SlipwayError, systemCode } from '../errors.ts';
import { formatAptLogin, requireUsableLogin, separateLogin } from '../url-login.ts';

export type BuiltImage = { readonly root: string; readonly engine: string };

/**
 * Builds disk.qcow2, vmlinuz and initrd in a folder, from the distribution's signed packages. `qemuImg` is the path of
 * that program. An interrupted build leaves nothing but the folder.
 */
export async function buildImage(
  {
    suite,
    arch,
    mirror,
    qemuImg,
  }: { readonly suite: string; readonly arch: string; readonly mirror?: string | undefined; readonly qemuImg: string },
  folder: string,
  call: { readonly computer: Computer; readonly log: (line: string) => void; readonly signal: AbortSignal },
): Promise<BuiltImage> {
  const { env, templates } = call.computer;
  const { url, login } = separateLogin(mirror ?? '');
  if (login !== undefined) requireUsableLogin(login, '--mirror');
  const script = join(templates, 'image', 'build.sh');
  const built = await runChild('bash', [script], {
    ...call,
    purpose: { maker: true, files: [folder] },
    env: {
      ...proxyVariablesIn(env),
      SUITE: suite,
      ARCH: arch,
      OUT: folder,
      MIRROR: url,
      // Only this user can read a process's environment; apt's sources are readable for all.
      MIRROR_LOGIN: login === undefined ? '' : formatAptLogin(url, login),
      PATH: `${env.PATH ?? ''}:/usr/sbin:/sbin`,
      // The build needs several GB, more than a /tmp in memory has.
      TMPDIR: env.TMPDIR ?? '/var/tmp',
    },
  });
  if (built.code !== 0) throw imageBuildError(suite, built.lines);
  call.log('Pack the disk');
  const raw = join(folder, 'disk.raw');
  const packed = await runChild(qemuImg, ['convert', '-O', 'qcow2', raw, join(folder, 'disk.qcow2')], {
    ...call,
    purpose: { maker: true },
  });
  if (packed.code !== 0) throw imageBuildError(suite, packed.lines);
  await deleteFile(raw);
  const engine = await readFile(join(folder, 'engine'), 'utf8').catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return '';
    throw error;
  });
  await deleteFile(join(folder, 'engine'));
  return { root: '/dev/vda', engine: engine.trim() };
}

function imageBuildError(suite: string, lines: readonly string[]): SlipwayError {
  const why = lines.findLast((line) => line.startsWith('!! '))?.slice(3);
  const full = lines.some((line) => /No space left on device|Disk quota exceeded/i.test(line));
  return new SlipwayError(
    'IMAGE_BUILD',
    `The image of ${suite} could not be built${full ? ': the disk is full' : why === undefined ? '' : `: ${why}`}`,
    {
      hint: full
        ? 'Make room (about 3 GB), or set TMPDIR to a folder that has it, then run the same command again'
        : 'Fix that, then run the same command again: no incomplete image is left',
      detail: lines.filter((line) => !line.startsWith('!! ')).slice(-8),
    },
  );
}
