import { describe, expect, test } from 'vitest';
import { complete, shown, type Declared, type DeclaredCommand, type Facts } from '../../src/completion/complete.ts';
import { declared } from '../../src/cli/completion-data.ts';

const facts: Facts = { machines: () => ['prod', 'web', 'web-2'], images: () => ['debian-13', 'mine'] };
const program = await declared();
const at = (...words: readonly string[]): readonly string[] =>
  complete(program, words, facts).candidates.map(({ text }) => text);
const pathsAt = (...words: readonly string[]): string | undefined => complete(program, words, facts).paths;

describe('a command', () => {
  test('is offered by its beginning, with what it does', () => {
    expect(complete(program, ['sto'], facts).candidates).toEqual([{ text: 'stop', about: 'Shut machines down' }]);
    expect(at('')).toEqual(expect.arrayContaining(['create', 'image', 'completion', 'help']));
    expect(at('')).not.toContain('image ls');
    expect(at('--json', 'sto')).toEqual(['stop']);
    expect(at('nonsense', '')).toEqual([]);
  });

  test('of two words is offered a word at a time, flags between them or not', () => {
    expect(at('ima')).toEqual(['image']);
    expect(at('image', '')).toEqual(['ls', 'build', 'pull', 'rm', 'warm', 'prune']);
    expect(at('image', '--json', 'p')).toEqual(['pull', 'prune']);
    expect(at('image', 'build', '--arch', '')).toEqual(['amd64', 'arm64']);
  });

  test('is offered to help, as are drivers and the other topics', () => {
    expect(at('help', 'e')).toEqual(expect.arrayContaining(['env', 'extend', 'ec2', 'engine']));
    expect(at('help', 'image', 'b')).toEqual(['build']);
    expect(at('help', 'env', '')).toEqual([]);
  });

  test('has its flags, those before it have theirs', () => {
    expect(at('--')).toEqual(['--json', '--debug', '--quiet', '--help', '--version']);
    expect(at('rm', '--f')).toEqual(['--force']);
    expect(at('rm', '--j')).toEqual(['--json']);
  });
});

describe('a machine', () => {
  test('is offered where one is meant, once', () => {
    expect(at('ip', '')).toEqual(['prod', 'web', 'web-2']);
    expect(at('rm', 'web', 'we')).toEqual(['web-2']);
    expect(at('rm', '--', 'p')).toEqual(['prod']);
    expect(at('use', 'web', '')).toEqual([]);
    expect(at('env', '--shell', 'fish', 'p')).toEqual(['prod']);
  });

  test('is none where a new one is named, and what it is told over SSH is its own business', () => {
    expect(at('create', '')).toEqual([]);
    expect(at('ssh', '')).toEqual(['prod', 'web', 'web-2']);
    expect(at('ssh', 'web', '')).toEqual([]);
    expect(at('ssh', 'web', '--')).toEqual([]);
    expect(at('ssh', 'web', 'ls', '--json', '')).toEqual([]);
  });

  test('stands before a colon for scp, and files of this computer beside it', () => {
    expect(at('scp', 'we')).toEqual(['web:', 'web-2:']);
    expect(pathsAt('scp', 'we')).toBe('files');
    expect(at('scp', 'web:/x', 'p')).toEqual(['prod:']);
    expect([at('mount', 'we'), pathsAt('mount', 'we')]).toEqual([['web:', 'web-2:'], undefined]);
    expect(pathsAt('mount', 'web:/srv', '')).toBe('folders');
    expect([at('scp', 'web:/et'), pathsAt('scp', 'web:/et')]).toEqual([[], undefined]);
  });
});

describe('a driver', () => {
  test('is offered with what it is', () => {
    expect(at('create', '-d', 'g').toSorted()).toEqual(['gce', 'generic']);
    expect(complete(program, ['create', '--driver', 'q'], facts).candidates).toEqual([
      { text: 'qemu', about: 'a virtual machine on this computer' },
    ]);
  });

  test.for([
    [['--driver', 'ec2']],
    [['--driver=ec2']],
    [['-d', 'ec2', 'web']],
    [['-d', 'gce', '-d', 'amazonec2']],
    [['web', '--ec2-region', 'eu-north-1']],
  ])('that is chosen (%s) offers its flags, and no other does', ([words = []]) => {
    expect(at('create', ...words, '--ec2-am')).toEqual(['--ec2-ami']);
    expect(at('create', ...words, '--gce')).toEqual([]);
    expect(at('create', ...words, '--')).toEqual(expect.arrayContaining(['--use', '--engine-opt', '--ttl']));
  });

  test('that is not chosen yet is chosen by its flags: all are offered by their beginning', () => {
    expect(at('create', '--none-')).toEqual(['--none-url', '--none-tls-ca', '--none-tls-cert', '--none-tls-key']);
    expect(at('create', '--gce-z')).toEqual(['--gce-zone']);
  });
});

describe('an option', () => {
  test('is offered by any of its names, but once, and again only where it may be given again', () => {
    expect(at('create', '--engine-p')).toEqual(['--engine-port']);
    expect(at('create', '--generic-engine-p')).toEqual(['--generic-engine-port']);
    expect(at('rm', '-f')).toEqual(['-f']);
    expect(at('rm', '-f', '--forc')).toEqual([]);
    expect(at('create', '--engine-label', 'a=b', '--engine-lab')).toEqual(['--engine-label']);
  });

  test('that is yes or no has both, the likely one first', () => {
    expect(at('create', '--us')).toEqual(['--use']);
    expect(at('create', '--no-us')).toEqual(['--no-use']);
    expect(at('env', '--no-p')).toEqual(['--no-proxy']);
    expect(at('rm', '--force', 'w')).toEqual(['web', 'web-2']);
  });

  test('that is a choice has its values, behind a blank or an equals sign', () => {
    expect(at('env', 'web', '--shell', 'p')).toEqual(['powershell', 'pwsh']);
    expect(at('env', 'web', '--shell=p')).toEqual(['--shell=powershell', '--shell=pwsh']);
    expect(at('create', '--qemu-accelerator', 'k')).toEqual(['kvm']);
    expect(at('create', '--profile', 'doc')).toContain('docker-context');
    expect(at('completion', 'z')).toEqual(['zsh']);
  });

  test('that is anything has none, and no machine either', () => {
    expect(at('create', '--qemu-cpus', '')).toEqual([]);
    expect(at('status', '--timeout', '')).toEqual([]);
    expect(at('rm', '--force=')).toEqual([]);
  });

  test('that is a file leaves it to the shell', () => {
    expect(pathsAt('create', '--none-tls-ca', '')).toBe('files');
    expect(pathsAt('create', '--none-tls-ca=./')).toBe('files');
    expect(pathsAt('apply', '-f', '')).toBe('files');
    expect(pathsAt('ip', '')).toBeUndefined();
  });

  test('that is an image has those that lie here, those that can be made, and files', () => {
    expect(at('create', '--image', '')).toEqual(['debian-13', 'debian-12', 'mine']);
    expect(pathsAt('create', '--image', '')).toBe('files');
    expect(at('image', 'rm', '')).toEqual(['debian-13', 'mine']);
    expect(at('image', 'build', '')).toEqual(['debian-13', 'debian-12']);
  });

  test('that is secret is no flag', () => {
    expect(at('create', '--sudo')).toEqual([]);
  });
});

describe('another program', () => {
  const list: DeclaredCommand = {
    name: 'ls',
    about: 'List',
    operands: [],
    options: [{ names: ['--filter', '-filter'], about: '', takes: 'any' }],
  };
  const old: Declared = {
    commands: [list],
    families: [],
    globals: [{ names: ['--storage-path', '-s'], about: '', takes: 'folder' }],
    drivers: [],
    topics: [],
    images: [],
  };

  test('may have values before its command, and names with one dash', () => {
    expect(complete(old, ['-s', ''], facts)).toEqual({ candidates: [], paths: 'folders' });
    expect(complete(old, ['-s', '/x', 'l'], facts).candidates.map(({ text }) => text)).toEqual(['ls']);
    expect(complete(old, ['-s=/x', 'ls', '-fi'], facts).candidates.map(({ text }) => text)).toEqual(['-filter']);
  });
});

describe('what a shell gets', () => {
  test('has no word that a shell would read', () => {
    const strange: Facts = { machines: () => ['$(reboot)', 'a b', "it's", '`x`', 'a\nb', 'web'], images: () => [] };
    expect(complete(program, ['ip', ''], strange).candidates).toEqual([{ text: 'web' }]);
  });

  test('has one line for each, meanings that are lines, and a last one that says what else there is', () => {
    expect(shown(complete(program, ['stat'], facts))).toBe('status\tShow how a machine is\n:4\n');
    expect(shown(complete(program, ['scp', 'p'], facts))).toBe('prod:\n:2\n');
    expect(shown({ candidates: [], paths: 'folders' })).toBe(':16\n');
    const abouts = [...program.commands, ...program.drivers, ...program.commands.flatMap(({ options }) => options)];
    expect(abouts.filter(({ about }) => /\p{C}/u.test(about))).toEqual([]);
  });
});
