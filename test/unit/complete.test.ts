import { describe, expect, test } from 'vitest';
import {
  complete,
  formatCompletion,
  type CompletionSpec,
  type CompletionCommand,
  type CompletionSources,
} from '../../src/completion/complete.ts';
import { generateCompletionSpec } from '../../src/cli/completion-data.ts';

const completionFacts: CompletionSources = {
  listMachines: () => ['prod', 'web', 'web-2'],
  listImages: () => ['debian-13', 'mine'],
};
const program = await generateCompletionSpec();
const candidatesFor = (...words: readonly string[]): readonly string[] =>
  complete(program, words, completionFacts).candidates.map(({ text }) => text);
const pathKindFor = (...words: readonly string[]): string | undefined =>
  complete(program, words, completionFacts).paths;

describe('a command', () => {
  test('is offered by its beginning, with what it does', () => {
    expect(complete(program, ['sto'], completionFacts).candidates).toEqual([{ text: 'stop', about: 'Stop machines' }]);
    expect(candidatesFor('')).toEqual(expect.arrayContaining(['create', 'image', 'completion', 'help']));
    expect(candidatesFor('')).not.toContain('image ls');
    expect(candidatesFor('--json', 'sto')).toEqual(['stop']);
    expect(candidatesFor('nonsense', '')).toEqual([]);
  });

  test('of two words is offered a word at a time, flags between them or not', () => {
    expect(candidatesFor('ima')).toEqual(['image']);
    expect(candidatesFor('image', '')).toEqual(['ls', 'build', 'pull', 'rm', 'warm', 'prune']);
    expect(candidatesFor('image', '--json', 'p')).toEqual(['pull', 'prune']);
    expect(candidatesFor('image', 'build', '--arch', '')).toEqual(['amd64', 'arm64']);
  });

  test('is offered to help, as are drivers and the other topics', () => {
    expect(candidatesFor('help', 'e')).toEqual(expect.arrayContaining(['env', 'extend', 'ec2', 'engine']));
    expect(candidatesFor('help', 'image', 'b')).toEqual(['build']);
    expect(candidatesFor('help', 'env', '')).toEqual([]);
  });

  test('has its flags, those before it have theirs', () => {
    expect(candidatesFor('--')).toEqual(['--json', '--debug', '--quiet', '--help', '--version']);
    expect(candidatesFor('rm', '--f')).toEqual(['--force']);
    expect(candidatesFor('rm', '--j')).toEqual(['--json']);
  });
});

describe('a machine', () => {
  test('is offered where one is meant, once', () => {
    expect(candidatesFor('ip', '')).toEqual(['prod', 'web', 'web-2']);
    expect(candidatesFor('rm', 'web', 'we')).toEqual(['web-2']);
    expect(candidatesFor('rm', '--', 'p')).toEqual(['prod']);
    expect(candidatesFor('use', 'web', '')).toEqual([]);
    expect(candidatesFor('env', '--shell', 'fish', 'p')).toEqual(['prod']);
  });

  test('is none where a new one is named, and what it is told over SSH is its own business', () => {
    expect(candidatesFor('create', '')).toEqual([]);
    expect(candidatesFor('ssh', '')).toEqual(['prod', 'web', 'web-2']);
    expect(candidatesFor('ssh', 'web', '')).toEqual([]);
    expect(candidatesFor('ssh', 'web', '--')).toEqual([]);
    expect(candidatesFor('ssh', 'web', 'ls', '--json', '')).toEqual([]);
  });

  test('stands before a colon for scp, and files of this computer beside it', () => {
    expect(candidatesFor('scp', 'we')).toEqual(['web:', 'web-2:']);
    expect(pathKindFor('scp', 'we')).toBe('files');
    expect(candidatesFor('scp', 'web:/x', 'p')).toEqual(['prod:']);
    expect([candidatesFor('mount', 'we'), pathKindFor('mount', 'we')]).toEqual([['web:', 'web-2:'], undefined]);
    expect(pathKindFor('mount', 'web:/srv', '')).toBe('folders');
    expect([candidatesFor('scp', 'web:/et'), pathKindFor('scp', 'web:/et')]).toEqual([[], undefined]);
  });
});

describe('a driver', () => {
  test('is offered with what it is', () => {
    expect(candidatesFor('create', '-d', 'g').toSorted()).toEqual(['gce', 'generic']);
    expect(complete(program, ['create', '--driver', 'q'], completionFacts).candidates).toEqual([
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
    expect(candidatesFor('create', ...words, '--ec2-am')).toEqual(['--ec2-ami']);
    expect(candidatesFor('create', ...words, '--gce')).toEqual([]);
    expect(candidatesFor('create', ...words, '--')).toEqual(expect.arrayContaining(['--use', '--engine-opt', '--ttl']));
  });

  test('that is not chosen yet is chosen by its flags: all are offered by their beginning', () => {
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
  test('is offered by any of its names, but once, and again only where it may be given again', () => {
    expect(candidatesFor('create', '--engine-p')).toEqual(['--engine-port']);
    expect(candidatesFor('create', '--generic-engine-p')).toEqual(['--generic-engine-port']);
    expect(candidatesFor('rm', '-f')).toEqual(['-f']);
    expect(candidatesFor('rm', '-f', '--forc')).toEqual([]);
    expect(candidatesFor('create', '--engine-label', 'a=b', '--engine-lab')).toEqual(['--engine-label']);
  });

  test('that is yes or no has both, the likely one first', () => {
    expect(candidatesFor('create', '--us')).toEqual(['--use']);
    expect(candidatesFor('create', '--no-us')).toEqual(['--no-use']);
    expect(candidatesFor('env', '--no-p')).toEqual(['--no-proxy']);
    expect(candidatesFor('rm', '--force', 'w')).toEqual(['web', 'web-2']);
  });

  test('that is a choice has its values, behind a blank or an equals sign', () => {
    expect(candidatesFor('env', 'web', '--shell', 'p')).toEqual(['powershell', 'pwsh']);
    expect(candidatesFor('env', 'web', '--shell=p')).toEqual(['--shell=powershell', '--shell=pwsh']);
    expect(candidatesFor('create', '--qemu-accelerator', 'k')).toEqual(['kvm']);
    expect(candidatesFor('create', '--profile', 'doc')).toContain('docker-context');
    expect(candidatesFor('completion', 'z')).toEqual(['zsh']);
  });

  test('that is anything has none, and no machine either', () => {
    expect(candidatesFor('create', '--qemu-cpus', '')).toEqual([]);
    expect(candidatesFor('status', '--timeout', '')).toEqual([]);
    expect(candidatesFor('rm', '--force=')).toEqual([]);
  });

  test('that is a file leaves it to the shell', () => {
    expect(pathKindFor('create', '--none-tls-ca', '')).toBe('files');
    expect(pathKindFor('create', '--none-tls-ca=./')).toBe('files');
    expect(pathKindFor('apply', '-f', '')).toBe('files');
    expect(pathKindFor('ip', '')).toBeUndefined();
  });

  test('that is an image has those that lie here, those that can be made, and files', () => {
    expect(candidatesFor('create', '--image', '')).toEqual(['debian-13', 'debian-12', 'mine']);
    expect(pathKindFor('create', '--image', '')).toBe('files');
    expect(candidatesFor('image', 'rm', '')).toEqual(['debian-13', 'mine']);
    expect(candidatesFor('image', 'build', '')).toEqual(['debian-13', 'debian-12']);
  });

  test('that is secret is no flag', () => {
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

  test('may have values before its command, and names with one dash', () => {
    expect(complete(old, ['-s', ''], completionFacts)).toEqual({ candidates: [], paths: 'folders' });
    expect(complete(old, ['-s', '/x', 'l'], completionFacts).candidates.map(({ text }) => text)).toEqual(['ls']);
    expect(complete(old, ['-s=/x', 'ls', '-fi'], completionFacts).candidates.map(({ text }) => text)).toEqual([
      '-filter',
    ]);
  });
});

describe('what a shell gets', () => {
  test('has no word that a shell would read', () => {
    const strange: CompletionSources = {
      listMachines: () => ['$(reboot)', 'a b', "it's", '`x`', 'a\nb', 'web'],
      listImages: () => [],
    };
    expect(complete(program, ['ip', ''], strange).candidates).toEqual([{ text: 'web' }]);
  });

  test('has one line for each, meanings that are lines, and a last one that says what else there is', () => {
    expect(formatCompletion(complete(program, ['stat'], completionFacts))).toBe(
      'status\tShow the state of a machine\n:4\n',
    );
    expect(formatCompletion(complete(program, ['scp', 'p'], completionFacts))).toBe('prod:\n:2\n');
    expect(formatCompletion({ candidates: [], paths: 'folders' })).toBe(':16\n');
    const abouts = [...program.commands, ...program.drivers, ...program.commands.flatMap(({ options }) => options)];
    expect(abouts.filter(({ about }) => /\p{C}/u.test(about))).toEqual([]);
  });
});
