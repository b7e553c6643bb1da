import { mkdir, readdir, readFile, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, inject } from 'vitest';
import { resolveImagesFolder } from '../bed/vm-prerequisites.ts';
import { createUser, expectSuccess, type Outcome, type User } from './test-user.ts';

/** `describe` for tests that need VMs; skipped as a whole where setup.ts found that there can be none. */
export const describeOnVm = describe.skipIf(inject('vmReason') !== undefined);

/** An image is built, and emulated machines start, in minutes when others test beside them. */
export const VM_TIMEOUT_SECONDS = 900;

export type VmRecord = {
  readonly id: string;
  readonly name: string;
  readonly ports: { readonly ssh: number; readonly engine: number };
};

/** A user whose images are those of all test users, and whose machines end with them. */
export async function createVmUser(): Promise<User> {
  const user = await createUser();
  const images = await resolveImagesFolder();
  await mkdir(images, { recursive: true, mode: 0o700 });
  await mkdir(join(user.home, '.slipway'), { mode: 0o700 });
  await symlink(images, join(user.home, '.slipway', 'images'));
  return {
    ...user,
    async [Symbol.asyncDispose]() {
      const { stdout } = await user.slipway('ls', '--quiet');
      const names = stdout.split('\n').filter(Boolean);
      if (names.length > 0) await expectSuccess(user.slipway('rm', '--force', ...names));
      await expectSuccess(user.slipway('image', 'prune'));
      await user[Symbol.asyncDispose]();
    },
  };
}

/** Runs a shell command in a VM. */
export function runInVm(user: User, name: string, command: string): Promise<Outcome> {
  return user.slipway('ssh', name, command);
}

/** The trimmed output of a shell command in a VM that has to succeed. */
export async function runInVmOrThrow(user: User, name: string, command: string): Promise<string> {
  return (await expectSuccess(runInVm(user, name, command))).stdout.trim();
}

/** What is known of this user's VMs, in their folders. */
export async function listVms(user: User): Promise<readonly (VmRecord & { readonly folder: string })[]> {
  const root = join(user.home, '.slipway', 'vms');
  const folders = await readdir(root).catch(() => []);
  return Promise.all(
    folders.map(async (id) => {
      const folder = join(root, id);
      return { ...(JSON.parse(await readFile(join(folder, 'vm.json'), 'utf8')) as VmRecord), folder };
    }),
  );
}

/** The processes that run VMs of this user, by their folder: what is left when the tools say that nothing is. */
export async function listQemuPids(user: User): Promise<readonly number[]> {
  const { stdout } = await user.run('sh', [
    '-c',
    `for p in /proc/[0-9]*; do case $(readlink $p/cwd) in "${user.home}"/*) case $(readlink $p/exe) in *qemu-system*) echo \${p#/proc/} ;; esac ;; esac; done`,
  ]);
  return stdout.split('\n').filter(Boolean).map(Number);
}

/** How often the engine was started since the machine started. */
export async function countVmEngineStarts(user: User, name: string): Promise<number> {
  const STARTING = '7d4958e842da4a758f6c1cdc7b36dcc5';
  return Number(
    await runInVmOrThrow(
      user,
      name,
      `sudo journalctl --no-pager -q -b -o cat UNIT=docker.service MESSAGE_ID=${STARTING} | wc -l`,
    ),
  );
}
