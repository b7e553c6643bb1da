import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { formatMissing, toUnattended } from '../../src/terminal/install-programs.ts';
import { sortByPriority, selectDefaultDriver, type DriverStatus } from '../../src/drivers/availability.ts';
import { checkHome, checkNode } from '../../src/cli/diagnostics.ts';
import type { Computer } from '../../src/computer/computer.ts';
import { boatDriver } from '../fakes/boat-driver.ts';
import {
  dockerClientFor,
  findProgram,
  installCommands,
  installPlanFor,
  findMissingPrograms,
  findPackageManager,
  formatCommands,
  locateProgram,
  sshProgram,
  type PackageManager,
  type Program,
} from '../../src/computer/programs.ts';
import { isPosix } from '../fakes/file-modes.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

const emulator: Program = {
  command: 'boat-system',
  alternatives: ['boat-kvm'],
  purpose: 'runs local boats',
  packages: { apt: ['boat-system'], dnf: ['boat-core'], winget: ['Fleet.Boat'], brew: ['boat'] },
  link: 'https://boat.example',
};
const imageTool: Program = {
  command: 'boat-img',
  purpose: 'runs local boats',
  packages: {
    apt: ['boat-utils', 'boat-system'],
    dnf: ['boat-img'],
    pacman: ['boat-img'],
    zypper: ['boat-tools'],
    brew: ['boat'],
    winget: ['Fleet.BoatImg'],
    choco: ['boat'],
  },
  link: 'https://boat.example/img',
};
const unprivilegedUser = { root: false, sudo: true };

const computerOn = (platform: NodeJS.Platform, path: string, more: Record<string, string> = {}): Computer => ({
  platform,
  arch: 'x64',
  env: { PATH: path, ...more },
  home: '/nowhere',
  templates: '/nowhere/templates',
});

async function writeProgram(folder: string, name: string, mode = 0o755): Promise<string> {
  await mkdir(folder, { recursive: true });
  const path = join(folder, name);
  await writeFile(path, '');
  await chmod(path, mode);
  return path;
}

describe('install commands', () => {
  const managers: readonly PackageManager[] = ['apt', 'dnf', 'pacman', 'zypper', 'brew', 'winget', 'choco'];

  test('are printed for each package manager as a user types them', () => {
    const lines = managers.map((name) =>
      formatCommands(installCommands([emulator, imageTool], name, unprivilegedUser), name),
    );
    expect(lines.join('\n')).toMatchInlineSnapshot(`
      "sudo apt-get update && sudo apt-get install --yes --no-install-recommends boat-system boat-utils
      sudo dnf install -y boat-core boat-img
      sudo pacman -S --needed --noconfirm boat-img
      sudo zypper --non-interactive install boat-tools
      brew install boat
      winget install --exact --id Fleet.Boat --accept-package-agreements --accept-source-agreements; winget install --exact --id Fleet.BoatImg --accept-package-agreements --accept-source-agreements
      choco install -y boat"
    `);
  });

  test('use sudo only if needed and installed, and never for brew and on Windows', () => {
    const firstWords = (rights: { root: boolean; sudo: boolean }): readonly (string | undefined)[] =>
      managers.map((manager) => installCommands([imageTool], manager, rights)[0]?.[0]);
    const withoutSudo = ['apt-get', 'dnf', 'pacman', 'zypper', 'brew', 'winget', 'choco'];
    expect(firstWords({ root: true, sudo: true })).toEqual(withoutSudo);
    expect(firstWords({ root: false, sudo: false })).toEqual(withoutSudo);
    expect(firstWords(unprivilegedUser)).toEqual(['sudo', 'sudo', 'sudo', 'sudo', 'brew', 'winget', 'choco']);
  });

  test('are empty if the package manager has none of the packages', () => {
    expect(installCommands([emulator], 'choco', unprivilegedUser)).toEqual([]);
    expect(installCommands([], 'apt', unprivilegedUser)).toEqual([]);
  });

  test('run unattended: sudo fails instead of asking, and passes on the frontend for packages', () => {
    expect(toUnattended(['sudo', 'apt-get', 'update'])).toEqual([
      'sudo',
      '-n',
      'DEBIAN_FRONTEND=noninteractive',
      'apt-get',
      'update',
    ]);
    expect(toUnattended(['brew', 'install', 'boat'])).toEqual(['brew', 'install', 'boat']);
  });
});

describe('installPlanFor', () => {
  test('can install if the package manager has all packages', () => {
    expect(installPlanFor([emulator], 'apt', unprivilegedUser)).toMatchObject({
      canInstall: true,
      unpackaged: [],
      instruction: 'sudo apt-get update && sudo apt-get install --yes --no-install-recommends boat-system',
    });
  });

  test('says that only root can install', () => {
    expect(installPlanFor([imageTool], 'dnf', { root: false, sudo: false })).toMatchObject({
      canInstall: false,
      instruction: 'as root: dnf install -y boat-img',
    });
    expect(installPlanFor([imageTool], 'brew', { root: false, sudo: false }).canInstall).toBe(true);
  });

  test('names the web page of a program without a package', () => {
    expect(installPlanFor([emulator, imageTool], 'zypper', unprivilegedUser)).toMatchObject({
      canInstall: false,
      unpackaged: [emulator],
      instruction: 'sudo zypper --non-interactive install boat-tools; get boat-system from https://boat.example',
    });
    expect(installPlanFor([emulator], undefined, unprivilegedUser)).toMatchObject({
      canInstall: false,
      commands: [],
      instruction: 'get boat-system from https://boat.example',
    });
  });

  test('formatMissing names missing programs with their purpose, each purpose once', () => {
    expect(formatMissing([imageTool])).toBe('boat-img, which runs local boats');
    expect(formatMissing([emulator, imageTool, sshProgram])).toBe(
      'boat-system and boat-img, which run local boats; and ssh, which opens shells on machines',
    );
  });
});

describe('dockerClientFor returns the package', () => {
  test.each([
    ['ID=debian\nVERSION_ID="12"\n', 'docker.io'],
    ['ID=debian\nVERSION_ID="13"\n', 'docker-cli'],
    ['NAME="Debian GNU/Linux"\nID=debian\nVERSION_CODENAME=sid\n', 'docker-cli'],
    ['ID=raspbian\nID_LIKE=debian\nVERSION_ID="11"\n', 'docker.io'],
    ['ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n', 'docker.io'],
    ['', 'docker.io'],
  ])('for os-release %j', (release, expected) => {
    expect(dockerClientFor(release).packages.apt).toEqual([expected]);
  });
});

describe('a program', () => {
  test('is found in the PATH, in its own folders, and under another name', async () => {
    await using folder = await createTemporaryFolder();
    const [first, second, own] = ['first', 'second', 'own'].map((name) => join(folder.path, name)) as [
      string,
      string,
      string,
    ];
    const extension = isPosix ? '' : '.exe';
    const computer = computerOn(process.platform, `${first}${delimiter}${second}`);
    expect(await findProgram(emulator, computer)).toBeUndefined();
    const inOwnFolder = await writeProgram(own, `boat-kvm${extension}`);
    expect(await findProgram({ ...emulator, folders: [own] }, computer)).toBe(inOwnFolder);
    const inSecondFolder = await writeProgram(second, `boat-kvm${extension}`);
    expect(await findProgram({ ...emulator, folders: [own] }, computer)).toBe(inSecondFolder);
    const inFirstFolder = await writeProgram(first, `boat-system${extension}`);
    expect(await findProgram(emulator, computer)).toBe(inFirstFolder);
    expect(await findMissingPrograms([emulator, imageTool], computer)).toEqual([imageTool]);
  });

  test.runIf(isPosix)('is no folder, no file that is not executable, and nothing in the current folder', async () => {
    await using folder = await createTemporaryFolder();
    await mkdir(join(folder.path, 'boat-system'));
    await writeProgram(folder.path, 'boat-kvm', 0o644);
    expect(await findProgram(emulator, computerOn('linux', folder.path))).toBeUndefined();
    for (const path of ['', '.', ':', 'test', '..:test'])
      expect(await findProgram({ command: 'package.json' }, computerOn('linux', path))).toBeUndefined();
    // The same file in an absolute folder is found, so relative folders are what is ignored.
    await writeProgram(folder.path, 'boat-kvm');
    expect(await findProgram(emulator, computerOn('linux', `:.:${folder.path}`))).toBe(join(folder.path, 'boat-kvm'));
  });

  test('is found on Windows with the extensions of programs that start without a shell', async () => {
    await using folder = await createTemporaryFolder();
    await writeProgram(folder.path, 'boat-img', 0o644);
    expect(await findProgram(imageTool, computerOn('win32', folder.path))).toBeUndefined();
    const path = await writeProgram(folder.path, 'boat-img.exe', 0o644);
    expect(await findProgram(imageTool, computerOn('win32', `x:;${folder.path}`))).toBe(path);
    await writeProgram(folder.path, 'boat-kvm.cmd');
    expect(await findProgram(emulator, computerOn('win32', folder.path, { PATHEXT: '.EXE;.CMD' }))).toBeUndefined();
  });

  test('is started on Windows by its path, never from the current folder', async () => {
    await using folder = await createTemporaryFolder();
    const path = await writeProgram(folder.path, 'boat.exe', 0o644);
    expect(locateProgram('boat', { PATH: `.;;boats;${folder.path}` }, 'win32')).toBe(path);
    expect(locateProgram('package', { PATH: '.;' }, 'win32')).toMatch(/^C:\\Windows\\System32/);
    expect(locateProgram('boat', { PATH: folder.path }, 'linux')).toBe('boat');
  });

  test.each([
    ['linux', ['zypper', 'pacman', 'dnf', 'apt-get'], 'apt'],
    ['linux', ['zypper', 'pacman', 'dnf'], 'dnf'],
    ['linux', ['zypper', 'pacman'], 'pacman'],
    ['linux', ['zypper', 'brew'], 'zypper'],
    ['linux', ['brew', 'choco.exe'], undefined],
    ['darwin', ['apt-get', 'brew'], 'brew'],
    ['win32', ['choco.exe', 'winget.exe'], 'winget'],
    ['win32', ['choco.exe', 'apt-get'], 'choco'],
    ['freebsd', ['apt-get'], undefined],
  ] as const)('that manages packages on %s, of %j, is %s', async (platform, names, expected) => {
    // A PATH with the drive letters of Windows is none of another system.
    if (!isPosix && platform !== 'win32') return;
    await using folder = await createTemporaryFolder();
    for (const name of names) await writeProgram(folder.path, name);
    expect(await findPackageManager(computerOn(platform, folder.path))).toBe(expected);
  });
});

describe('the default driver', () => {
  const { priority: _priority, ...plainDriver } = boatDriver;
  const driverStatus = (name: string, priority?: number, more: Partial<DriverStatus> = {}): DriverStatus => ({
    driver: { ...plainDriver, name, ...(priority === undefined ? {} : { priority }) },
    health: { usable: true },
    missing: [],
    ...more,
  });
  const unusable = { health: { usable: false, reason: 'no harbour', fix: 'dig one' } } as const;
  const selectName = (manager: PackageManager | undefined, ...statuses: readonly DriverStatus[]): string | undefined =>
    selectDefaultDriver(statuses, manager)?.driver.name;

  test.each<readonly [string, string | undefined, PackageManager | undefined, readonly DriverStatus[]]>([
    ['none without a priority', undefined, 'apt', [driverStatus('generic'), driverStatus('none')]],
    ['the one with a priority', 'boat', 'apt', [driverStatus('generic'), driverStatus('boat', 1)]],
    [
      'the one with the highest priority',
      'ship',
      'apt',
      [driverStatus('boat', 1), driverStatus('ship', 9), driverStatus('raft', 5)],
    ],
    ["not one that can't work here", 'boat', 'apt', [driverStatus('boat', 1), driverStatus('ship', 9, unusable)]],
    ['none, if none can work here', undefined, 'apt', [driverStatus('ship', 9, unusable), driverStatus('none')]],
    [
      'one whose programs can be installed',
      'ship',
      'dnf',
      [driverStatus('boat', 1), driverStatus('ship', 9, { missing: [imageTool] })],
    ],
    [
      'not one whose programs have no package',
      'boat',
      'pacman',
      [driverStatus('boat', 1), driverStatus('ship', 9, { missing: [emulator] })],
    ],
    [
      'the one with the highest priority, if all lack programs',
      'ship',
      undefined,
      [driverStatus('ship', 9, { missing: [imageTool] })],
    ],
  ])('is %s', (_what, expected, manager, statuses) => {
    expect(selectName(manager, ...statuses)).toBe(expected);
  });

  test('is sorted first, and the others keep their order', () => {
    const statuses = [driverStatus('generic'), driverStatus('boat', 1), driverStatus('none'), driverStatus('ship', 9)];
    expect(sortByPriority(statuses).map(({ driver }) => driver.name)).toEqual(['ship', 'boat', 'generic', 'none']);
  });
});

describe('diagnostics', () => {
  test.each([
    ['v20.18.3', 'missing'],
    ['v20.19.0', 'ok'],
    ['v20.20.2', 'ok'],
    ['v18.20.8', 'missing'],
    ['v22.1.0', 'ok'],
  ])('of Node %s: %s', (version, state) => {
    expect(checkNode(version).state).toBe(state);
  });

  test("of the home folder report one that can't be created or that others can read, and leave nothing", async () => {
    await using folder = await createTemporaryFolder();
    const home = join(folder.path, 'deep', 'state');
    const row = () => checkHome({ home, platform: process.platform, env: { USERPROFILE: folder.path } });
    expect(await row()).toMatchObject({ state: 'ok', detail: `${home} (created when needed)` });
    await mkdir(home, { recursive: true, mode: 0o700 });
    expect(await row()).toMatchObject({ state: 'ok', detail: home });
    if (isPosix) {
      await chmod(home, 0o755);
      expect(await row()).toMatchObject({ state: 'note', detail: expect.stringContaining(`chmod 700 ${home}`) });
    }
    const onWindows = (USERPROFILE: string) =>
      checkHome({ home, platform: 'win32', env: { USERPROFILE, USERNAME: 'ada' } });
    expect(await onWindows(folder.path.toUpperCase())).toMatchObject({ state: 'ok', detail: home });
    expect(await onWindows(join(folder.path, 'de'))).toMatchObject({
      state: 'note',
      detail: expect.stringContaining(`icacls "${home}" /inheritance:r /grant:r "ada:(OI)(CI)F"`),
    });
    if (!isPosix) return;
    const file = await writeProgram(folder.path, 'file');
    expect(await checkHome({ home: file, platform: 'linux', env: {} })).toMatchObject({ state: 'missing' });
    expect(await checkHome({ home: join(file, 'state'), platform: 'linux', env: {} })).toMatchObject({
      state: 'missing',
    });
    const loop = join(folder.path, 'loop');
    await symlink('loop', loop);
    expect(await checkHome({ home: loop, platform: 'linux', env: {} })).toEqual({
      what: "Slipway's folder",
      state: 'missing',
      detail: `${loop} could not be read: its symbolic links form a loop; to use another folder, set SLIPWAY_HOME`,
    });
  });
});
