import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { lackedAs, unattended } from '../../src/cli/consent.ts';
import { byRank, preferred, type Standing } from '../../src/drivers/availability.ts';
import { homeRow, nodeRow } from '../../src/cli/checkup.ts';
import type { Computer } from '../../src/computer/computer.ts';
import { none } from '../../src/drivers/none/driver.ts';
import {
  dockerClient,
  findProgram,
  installCommands,
  mendingBy,
  missingPrograms,
  packageManager,
  shownCommands,
  sshProgram,
  type PackageManager,
  type Program,
} from '../../src/computer/programs.ts';
import { temporaryFolder } from '../fakes/folder.ts';

const emulator: Program = {
  command: 'boat-system',
  also: ['boat-kvm'],
  purpose: 'runs local boats',
  packages: { apt: ['boat-system'], dnf: ['boat-core'], winget: ['Fleet.Boat'], brew: ['boat'] },
  link: 'https://boat.example',
};
const images: Program = {
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
const user = { root: false, sudo: true };

const on = (platform: NodeJS.Platform, path: string, more: Record<string, string> = {}): Computer => ({
  platform,
  arch: 'x64',
  env: { PATH: path, ...more },
  home: '/nowhere',
  templates: '/nowhere/templates',
});

async function programIn(folder: string, name: string, mode = 0o755): Promise<string> {
  await mkdir(folder, { recursive: true });
  const path = join(folder, name);
  await writeFile(path, '');
  await chmod(path, mode);
  return path;
}

describe('install commands', () => {
  const managers: readonly PackageManager[] = ['apt', 'dnf', 'pacman', 'zypper', 'brew', 'winget', 'choco'];

  test('of each package manager, as a person types them', () => {
    const lines = managers.map((name) => shownCommands(installCommands([emulator, images], name, user), name));
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

  test('take no sudo for root, nor where there is none, and never for brew and Windows', () => {
    const firsts = (rights: { root: boolean; sudo: boolean }): readonly (string | undefined)[] =>
      managers.map((manager) => installCommands([images], manager, rights)[0]?.[0]);
    const plain = ['apt-get', 'dnf', 'pacman', 'zypper', 'brew', 'winget', 'choco'];
    expect(firsts({ root: true, sudo: true })).toEqual(plain);
    expect(firsts({ root: false, sudo: false })).toEqual(plain);
    expect(firsts(user)).toEqual(['sudo', 'sudo', 'sudo', 'sudo', 'brew', 'winget', 'choco']);
  });

  test('are none where the manager has none of the packages', () => {
    expect(installCommands([emulator], 'choco', user)).toEqual([]);
    expect(installCommands([], 'apt', user)).toEqual([]);
  });

  test('run where nobody answers: sudo fails instead of asking, and hands on what packages must know', () => {
    expect(unattended(['sudo', 'apt-get', 'update'])).toEqual([
      'sudo',
      '-n',
      'DEBIAN_FRONTEND=noninteractive',
      'apt-get',
      'update',
    ]);
    expect(unattended(['brew', 'install', 'boat'])).toEqual(['brew', 'install', 'boat']);
  });
});

describe('a mending', () => {
  test('is complete when the manager has it all and may install', () => {
    expect(mendingBy([emulator], 'apt', user)).toMatchObject({
      complete: true,
      unpackaged: [],
      line: 'sudo apt-get update && sudo apt-get install --yes --no-install-recommends boat-system',
    });
  });

  test('says who may install, where that is root alone', () => {
    expect(mendingBy([images], 'dnf', { root: false, sudo: false })).toMatchObject({
      complete: false,
      line: 'as root: dnf install -y boat-img',
    });
    expect(mendingBy([images], 'brew', { root: false, sudo: false }).complete).toBe(true);
  });

  test('names the page of what no manager has', () => {
    expect(mendingBy([emulator, images], 'zypper', user)).toMatchObject({
      complete: false,
      unpackaged: [emulator],
      line: 'sudo zypper --non-interactive install boat-tools; get boat-system from https://boat.example',
    });
    expect(mendingBy([emulator], undefined, user)).toMatchObject({
      complete: false,
      commands: [],
      line: 'get boat-system from https://boat.example',
    });
  });

  test('says what is lacked with its purpose, each purpose once', () => {
    expect(lackedAs([images])).toBe('boat-img, which runs local boats');
    expect(lackedAs([emulator, images, sshProgram])).toBe(
      'boat-system and boat-img, which run local boats; and ssh, which opens shells on machines',
    );
  });
});

describe('the package of the docker client', () => {
  test.each([
    ['ID=debian\nVERSION_ID="12"\n', 'docker.io'],
    ['ID=debian\nVERSION_ID="13"\n', 'docker-cli'],
    ['NAME="Debian GNU/Linux"\nID=debian\nVERSION_CODENAME=sid\n', 'docker-cli'],
    ['ID=raspbian\nID_LIKE=debian\nVERSION_ID="11"\n', 'docker.io'],
    ['ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n', 'docker.io'],
    ['', 'docker.io'],
  ])('by os-release %j', (release, expected) => {
    expect(dockerClient(release).packages.apt).toEqual([expected]);
  });
});

describe('a program', () => {
  test('is found in the PATH, in its own folders, and under another name', async () => {
    await using folder = await temporaryFolder();
    const [first, second, own] = ['first', 'second', 'own'].map((name) => join(folder.path, name)) as [
      string,
      string,
      string,
    ];
    const path = `${first}:${second}`;
    expect(await findProgram(emulator, on('linux', path))).toBeUndefined();
    const elsewhere = await programIn(own, 'boat-kvm');
    expect(await findProgram({ ...emulator, folders: [own] }, on('linux', path))).toBe(elsewhere);
    const later = await programIn(second, 'boat-kvm');
    expect(await findProgram({ ...emulator, folders: [own] }, on('linux', path))).toBe(later);
    const sooner = await programIn(first, 'boat-system');
    expect(await findProgram(emulator, on('linux', path))).toBe(sooner);
    expect(await missingPrograms([emulator, images], on('linux', path))).toEqual([images]);
  });

  test('is neither a folder, nor a file that can’t be run, nor what lies where one happens to stand', async () => {
    await using folder = await temporaryFolder();
    await mkdir(join(folder.path, 'boat-system'));
    await programIn(folder.path, 'boat-kvm', 0o644);
    expect(await findProgram(emulator, on('linux', folder.path))).toBeUndefined();
    for (const path of ['', '.', ':', 'test', '..:test'])
      expect(await findProgram({ command: 'package.json' }, on('linux', path))).toBeUndefined();
    // The same in an absolute folder counts, so it is the folder that does not.
    await programIn(folder.path, 'boat-kvm');
    expect(await findProgram(emulator, on('linux', `:.:${folder.path}`))).toBe(join(folder.path, 'boat-kvm'));
  });

  test('has on Windows the endings of PATHEXT', async () => {
    await using folder = await temporaryFolder();
    await programIn(folder.path, 'boat-img', 0o644);
    expect(await findProgram(images, on('win32', folder.path))).toBeUndefined();
    const path = await programIn(folder.path, 'boat-img.EXE', 0o644);
    expect(await findProgram(images, on('win32', `x:;${folder.path}`))).toBe(path);
    expect(await findProgram(images, on('win32', folder.path, { PATHEXT: '.CMD;.PY' }))).toBeUndefined();
  });

  test.each([
    ['linux', ['zypper', 'pacman', 'dnf', 'apt-get'], 'apt'],
    ['linux', ['zypper', 'pacman', 'dnf'], 'dnf'],
    ['linux', ['zypper', 'pacman'], 'pacman'],
    ['linux', ['zypper', 'brew'], 'zypper'],
    ['linux', ['brew', 'choco.EXE'], undefined],
    ['darwin', ['apt-get', 'brew'], 'brew'],
    ['win32', ['choco.EXE', 'winget.EXE'], 'winget'],
    ['win32', ['choco.EXE', 'apt-get'], 'choco'],
    ['freebsd', ['apt-get'], undefined],
  ] as const)('manages packages on %s among %j: %s', async (platform, names, expected) => {
    await using folder = await temporaryFolder();
    for (const name of names) await programIn(folder.path, name);
    expect(await packageManager(on(platform, folder.path))).toBe(expected);
  });
});

describe('the driver that is taken unasked', () => {
  const standing = (name: string, rank?: number, more: Partial<Standing> = {}): Standing => ({
    driver: { ...none, name, ...(rank === undefined ? {} : { rank }) },
    health: { usable: true },
    missing: [],
    ...more,
  });
  const ill = { health: { usable: false, reason: 'no harbour', fix: 'dig one' } } as const;
  const chosen = (manager: PackageManager | undefined, ...standings: readonly Standing[]): string | undefined =>
    preferred(standings, manager)?.driver.name;

  test.each<readonly [string, string | undefined, PackageManager | undefined, readonly Standing[]]>([
    ['none without a rank', undefined, 'apt', [standing('generic'), standing('none')]],
    ['the one with a rank', 'boat', 'apt', [standing('generic'), standing('boat', 1)]],
    ['the highest rank', 'ship', 'apt', [standing('boat', 1), standing('ship', 9), standing('raft', 5)]],
    ['not one that can’t work here', 'boat', 'apt', [standing('boat', 1), standing('ship', 9, ill)]],
    ['none, where none can work', undefined, 'apt', [standing('ship', 9, ill), standing('none')]],
    ['one to install', 'ship', 'dnf', [standing('boat', 1), standing('ship', 9, { missing: [images] })]],
    [
      'not one that nothing installs',
      'boat',
      'pacman',
      [standing('boat', 1), standing('ship', 9, { missing: [emulator] })],
    ],
    ['the best all the same, where all lack programs', 'ship', undefined, [standing('ship', 9, { missing: [images] })]],
  ])('is %s', (_what, expected, manager, standings) => {
    expect(chosen(manager, ...standings)).toBe(expected);
  });

  test('stands first, and the others keep their order', () => {
    const standings = [standing('generic'), standing('boat', 1), standing('none'), standing('ship', 9)];
    expect(byRank(standings).map(({ driver }) => driver.name)).toEqual(['ship', 'boat', 'generic', 'none']);
  });
});

describe('a checkup', () => {
  test.each([
    ['v20.18.3', 'missing'],
    ['v20.19.0', 'ok'],
    ['v20.20.2', 'ok'],
    ['v18.20.8', 'missing'],
    ['v22.1.0', 'ok'],
  ])('of Node %s: %s', (version, state) => {
    expect(nodeRow(version).state).toBe(state);
  });

  test('of the folder sees what can’t be made, what others can read, and leaves nothing', async () => {
    await using folder = await temporaryFolder();
    const home = join(folder.path, 'deep', 'state');
    const row = () => homeRow({ home, platform: 'linux' });
    expect(await row()).toMatchObject({ state: 'ok', detail: `${home} (made when it is needed)` });
    await mkdir(home, { recursive: true, mode: 0o700 });
    expect(await row()).toMatchObject({ state: 'ok', detail: home });
    await chmod(home, 0o755);
    expect(await row()).toMatchObject({ state: 'note', detail: expect.stringContaining(`chmod 700 ${home}`) });
    const file = await programIn(folder.path, 'file');
    expect(await homeRow({ home: file, platform: 'linux' })).toMatchObject({ state: 'missing' });
    expect(await homeRow({ home: join(file, 'state'), platform: 'linux' })).toMatchObject({ state: 'missing' });
  });
});
