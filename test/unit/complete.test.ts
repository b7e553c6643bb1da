import { describe, expect, test } from 'vitest';
import {
  complete,
  formatCompletion,
  type CompletionSpec,
  type CompletionCommand,
  type CompletionSources,
} from '../../src/completion/complete.ts';
import { generateCompletionSpec } from '../../src/cli/completion-data.ts';

const completionSources: CompletionSources = {
  listMachines: () => ['prod', 'web', 'web-2'],
  listImages: () => ['debian-13', 'mine'],
};
const program = await generateCompletionSpec();
const candidatesFor = (...words: readonly string[]): readonly string[] =>
  complete(program, words, completionSources).candidates.map(({ text }) => text);
const pathKindFor = (...words: readonly string[]): string | undefined =>
  complete(program, words, completionSources).paths;

describe('a command', () => {
  test('is completed from its first letters, with its summary', () => {
    expect(complete(program, ['sto'], completionSources).candidates).toEqual([
      { text: 'stop', about: 'Stop machines' },
    ]);
    expect(candidatesFor('')).toEqual(expect.arrayContaining(['create', 'image', 'completion', 'help']));
    expect(candidatesFor('')).not.toContain('image ls');
    expect(candidatesFor('--json', 'sto')).toEqual(['stop']);
    expect(candidatesFor('nonsense', '')).toEqual([]);
  });

  test('of two words is completed one word at a time, even with flags in between', () => {
    expect(candidatesFor('ima')).toEqual(['image']);
    expect(candidatesFor('image', '')).toEqual(['ls', 'build', 'pull', 'rm', 'warm', 'prune']);
    expect(candidatesFor('image', '--json', 'p')).toEqual(['pull', 'prune']);
    expect(candidatesFor('image', 'build', '--arch', '')).toEqual(['amd64', 'arm64']);
  });

  test('is completed after help, like drivers and other topics', () => {
    expect(candidatesFor('help', 'e')).toEqual(expect.arrayContaining(['env', 'extend', 'ec2', 'engine']));
    expect(candidatesFor('help', 'image', 'b')).toEqual(['build']);
    expect(candidatesFor('help', 'env', '')).toEqual([]);
  });

  test('has its own flags, and flags before it are global', () => {
    expect(candidatesFor('--')).toEqual(['--json', '--debug', '--quiet', '--help', '--version']);
    expect(candidatesFor('rm', '--f')).toEqual(['--force']);
    expect(candidatesFor('rm', '--j')).toEqual(['--json']);
  });
});

describe('a machine', () => {
  test('is completed where a command takes one, and not twice', () => {
    expect(candidatesFor('ip', '')).toEqual(['prod', 'web', 'web-2']);
    expect(candidatesFor('rm', 'web', 'we')).toEqual(['web-2']);
    expect(candidatesFor('rm', '--', 'p')).toEqual(['prod']);
    expect(candidatesFor('use', 'web', '')).toEqual([]);
    expect(candidatesFor('env', '--shell', 'fish', 'p')).toEqual(['prod']);
  });

  test('is not completed for a new name, nor in a command that runs over SSH', () => {
    expect(candidatesFor('create', '')).toEqual([]);
    expect(candidatesFor('ssh', '')).toEqual(['prod', 'web', 'web-2']);
    expect(candidatesFor('ssh', 'web', '')).toEqual([]);
    expect(candidatesFor('ssh', 'web', '--')).toEqual([]);
    expect(candidatesFor('ssh', 'web', 'ls', '--json', '')).toEqual([]);
  });

  test('is completed with a colon for scp, besides local files', () => {
    expect(candidatesFor('scp', 'we')).toEqual(['web:', 'web-2:']);
    expect(pathKindFor('scp', 'we')).toBe('files');
    expect(candidatesFor('scp', 'web:/x', 'p')).toEqual(['prod:']);
    expect([candidatesFor('mount', 'we'), pathKindFor('mount', 'we')]).toEqual([['web:', 'web-2:'], undefined]);
    expect(pathKindFor('mount', 'web:/srv', '')).toBe('folders');
    expect([candidatesFor('scp', 'web:/et'), pathKindFor('scp', 'web:/et')]).toEqual([[], undefined]);
  });
});

describe('a driver', () => {
  test('is completed with its summary', () => {
    expect(candidatesFor('create', '-d', 'g').toSorted()).toEqual(['gce', 'generic']);
    expect(complete(program, ['create', '--driver', 'q'], completionSources).candidates).toEqual([
      { text: 'qemu', about: 'a virtual machine on this computer' },
    ]);
  });

  test.for([
    [['--driver', 'ec2']],
    [['--driver=ec2']],
    [['-d', 'ec2', 'web']],
    [['-d', 'gce', '-d', 'amazonec2']],
    [['web', '--ec2-region', 'eu-north-1']],
  ])('that is selected by %s has only its own flags completed', ([words = []]) => {
    expect(candidatesFor('create', ...words, '--ec2-am')).toEqual(['--ec2-ami']);
    expect(candidatesFor('create', ...words, '--gce')).toEqual([]);
    expect(candidatesFor('create', ...words, '--')).toEqual(expect.arrayContaining(['--use', '--engine-opt', '--ttl']));
  });

  test('that is not selected yet has its flags completed, like all other drivers', () => {
    expect(candidatesFor('create', '--none-')).toEqual([
      '--none-url',
      '--none-tls-ca',
      '--none-tls-cert',
      '--none-tls-key',
    ]);
    expect(candidatesFor('create', '--gce-z')).toEqual(['--gce-zone']);
  });
});

describe('an option', () => {
  test('is completed by any of its names, and again only if it can be repeated', () => {
    expect(candidatesFor('create', '--engine-p')).toEqual(['--engine-port']);
    expect(candidatesFor('create', '--generic-engine-p')).toEqual(['--generic-engine-port']);
    expect(candidatesFor('rm', '-f')).toEqual(['-f']);
    expect(candidatesFor('rm', '-f', '--forc')).toEqual([]);
    expect(candidatesFor('create', '--engine-label', 'a=b', '--engine-lab')).toEqual(['--engine-label']);
  });

  test('that is a boolean is completed with and without "no-"', () => {
    expect(candidatesFor('create', '--us')).toEqual(['--use']);
    expect(candidatesFor('create', '--no-us')).toEqual(['--no-use']);
    expect(candidatesFor('env', '--no-p')).toEqual(['--no-proxy']);
    expect(candidatesFor('rm', '--force', 'w')).toEqual(['web', 'web-2']);
  });

  test('that is a choice has its values completed, after a blank or an equals sign', () => {
    expect(candidatesFor('env', 'web', '--shell', 'p')).toEqual(['powershell', 'pwsh']);
    expect(candidatesFor('env', 'web', '--shell=p')).toEqual(['--shell=powershell', '--shell=pwsh']);
    expect(candidatesFor('create', '--qemu-accelerator', 'k')).toEqual(['kvm']);
    expect(candidatesFor('create', '--profile', 'doc')).toContain('docker-context');
    expect(candidatesFor('completion', 'z')).toEqual(['zsh']);
  });

  test('with any other value completes neither values nor machines', () => {
    expect(candidatesFor('create', '--qemu-cpus', '')).toEqual([]);
    expect(candidatesFor('status', '--timeout', '')).toEqual([]);
    expect(candidatesFor('rm', '--force=')).toEqual([]);
  });

  test('that takes a file leaves completion to the shell', () => {
    expect(pathKindFor('create', '--none-tls-ca', '')).toBe('files');
    expect(pathKindFor('create', '--none-tls-ca=./')).toBe('files');
    expect(pathKindFor('apply', '-f', '')).toBe('files');
    expect(pathKindFor('ip', '')).toBeUndefined();
  });

  test('that takes an image completes stored images, known images and files', () => {
    expect(candidatesFor('create', '--image', '')).toEqual(['debian-13', 'debian-12', 'mine']);
    expect(pathKindFor('create', '--image', '')).toBe('files');
    expect(candidatesFor('image', 'rm', '')).toEqual(['debian-13', 'mine']);
    expect(candidatesFor('image', 'build', '')).toEqual(['debian-13', 'debian-12']);
  });

  test('that is secret has no flag to complete', () => {
    expect(candidatesFor('create', '--sudo')).toEqual([]);
  });
});

describe('another program', () => {
  const list: CompletionCommand = {
    name: 'ls',
    about: 'List',
    operands: [],
    options: [{ names: ['--filter', '-filter'], about: '', takes: 'any' }],
  };
  const old: CompletionSpec = {
    commands: [list],
    families: [],
    globals: [{ names: ['--storage-path', '-s'], about: '', takes: 'folder' }],
    drivers: [],
    topics: [],
    images: [],
  };

  test('can have values before its command, and flags with one dash', () => {
    expect(complete(old, ['-s', ''], completionSources)).toEqual({ candidates: [], paths: 'folders' });
    expect(complete(old, ['-s', '/x', 'l'], completionSources).candidates.map(({ text }) => text)).toEqual(['ls']);
    expect(complete(old, ['-s=/x', 'ls', '-fi'], completionSources).candidates.map(({ text }) => text)).toEqual([
      '-filter',
    ]);
  });
});

describe('formatCompletion', () => {
  test('offers no word that a shell would interpret', () => {
    const strange: CompletionSources = {
      listMachines: () => ['$(reboot)', 'a b', "it's", '`x`', 'a\nb', 'web'],
      listImages: () => [],
    };
    expect(complete(program, ['ip', ''], strange).candidates).toEqual([{ text: 'web' }]);
  });

  test('prints a line for each candidate with its summary, and a last line with the kind of files', () => {
    expect(formatCompletion(complete(program, ['stat'], completionSources))).toBe(
      'status\tShow the state of a machine\n:4\n',
    );
    expect(formatCompletion(complete(program, ['scp', 'p'], completionSources))).toBe('prod:\n:2\n');
    expect(formatCompletion({ candidates: [], paths: 'folders' })).toBe(':16\n');
    const abouts = [...program.commands, ...program.drivers, ...program.commands.flatMap(({ options }) => options)];
    expect(abouts.filter(({ about }) => /\p{C}/u.test(about))).toEqual([]);
  });
});
