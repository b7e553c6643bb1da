import { mkdir, readdir, readFile, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, inject } from 'vitest';
import { resolveImagesFolder } from '../bed/vm-prerequisites.ts';
import { UNIT_STARTING_MESSAGE_ID } from './inspect-host.ts';
import { createUser, expectSuccess, type Outcome, type User } from './test-user.ts';

/** `describe` for tests that need VMs; skips them where setup.ts found that this computer can't run any. */
export const describeOnVm = describe.skipIf(inject('vmReason') !== undefined);

/** On a busy computer, an image build and the start of an emulated machine take minutes. */
export const VM_TIMEOUT_SECONDS = 900;

export type VmRecord = {
  readonly id: string;
  readonly name: string;
  readonly ports: { readonly ssh: number; readonly engine: number };
};

/** Creates a user who shares images with all test users. Its disposal removes the user's machines. */
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

/** Runs a shell command in a VM and returns its trimmed output. Throws where the command fails. */
export async function runInVmOrThrow(user: User, name: string, command: string): Promise<string> {
  return (await expectSuccess(runInVm(user, name, command))).stdout.trim();
}

/** Returns this user's VMs, from the records in their folders. */
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

/** Returns the pids of QEMU processes that run in folders of this user, whatever Slipway says about them. */
export async function listQemuPids(user: User): Promise<readonly number[]> {
  const { stdout } = await user.run('sh', [
    '-c',
    `for p in /proc/[0-9]*; do case $(readlink $p/cwd) in "${user.home}"/*) case $(readlink $p/exe) in *qemu-system*) echo \${p#/proc/} ;; esac ;; esac; done`,
  ]);
  return stdout.split('\n').filter(Boolean).map(Number);
}

/** Counts the starts of the VM's engine since its last boot, including those that failed. */
export async function countVmEngineStarts(user: User, name: string): Promise<number> {
  return Number(
    await runInVmOrThrow(
      user,
      name,
      `sudo journalctl --no-pager -q -b -o cat UNIT=docker.service MESSAGE_ID=${UNIT_STARTING_MESSAGE_ID} | wc -l`,
    ),
  );
}
