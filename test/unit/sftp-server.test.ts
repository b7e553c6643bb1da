import {
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
  existsSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createFolderServer } from '../../src/link/folders/sftp-server.ts';
import { REQUEST } from '../../src/link/folders/sftp-packets.ts';
import { STATUS } from '../../src/link/folders/sftp-status.ts';
import { connectClient, packetOf, type Answer, type SftpClient } from '../fakes/sftp-client.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

const isWindows = process.platform === 'win32';
const READ = 1;
const CREATE = 2 | 8;
const APPEND = 2 | 4 | 8;
const EXCLUSIVE = 2 | 8 | 32;
const NO_ATTRIBUTES = 0;
const SESSION = '0123456789abcdef';

/** Serves two folders, one of them read-only, beside a folder that is not shared. */
async function createShare() {
  const { path } = await createTemporaryFolder();
  for (const name of ['shared/folder', 'shared/.ssh', 'shared/.config/gcloud', 'read-only', 'outside']) {
    mkdirSync(join(path, name), { recursive: true });
  }
  writeFileSync(join(path, 'outside/file'), 'outside');
  writeFileSync(join(path, 'shared/.ssh/key'), 'key');
  writeFileSync(join(path, 'shared/file'), 'inside');
  writeFileSync(join(path, 'read-only/file'), 'kept');
  symlinkSync(join(path, 'outside'), join(path, 'shared/out'));
  symlinkSync(join(path, 'outside/file'), join(path, 'shared/out-file'));
  const server = createFolderServer({
    folders: [
      { folder: join(path, 'shared'), machinePath: '/home/me', isReadOnly: false },
      { folder: join(path, 'read-only'), machinePath: '/data', isReadOnly: true },
    ],
    secretFolders: [join(path, 'shared/.ssh'), join(path, 'shared/.config/gcloud'), join(path, 'shared/.missing')],
  });
  onTestFinished(() => server.close());
  return { path, server, shared: join(path, 'shared'), client: connectClient(server) };
}

const open = (client: SftpClient, path: string, flags: number): Promise<Answer> =>
  client.request(REQUEST.open, path, flags, NO_ATTRIBUTES);
const write = (client: SftpClient, handle: string, offset: number, text: string): Promise<Answer> =>
  client.request(REQUEST.write, handle, 0, offset, text);
const read = (client: SftpClient, handle: string): Promise<Answer> => client.request(REQUEST.read, handle, 0, 0, 1000);

describe.skipIf(isWindows)('a folder server', () => {
  test('reads and writes files in its folders', async () => {
    const { client, shared } = await createShare();
    const { text: handle } = await open(client, '/home/me/folder/new', CREATE);
    expect((await write(client, handle, 0, 'hello')).status).toBe(STATUS.ok);
    expect((await client.request(REQUEST.close, handle)).status).toBe(STATUS.ok);
    expect(readFileSync(join(shared, 'folder/new'), 'utf8')).toBe('hello');
    const { text: reading } = await open(client, '/home/me/file', READ);
    expect((await read(client, reading)).text).toBe('inside');
  });

  test.each([
    '/',
    '/home',
    '/home/meme/file',
    '/home/me/../../outside/file',
    '/home/me/folder/../../outside/file',
    '/home/me/..',
    '/home/me/./file',
    '/home/me//file',
    'home/me/file',
    '/home/me/file\0',
    '/home/me/out/file',
    '/home/me/.ssh/key',
    '/home/me/.config/gcloud/key',
    `/home/me/${'x/'.repeat(3000)}`,
  ])('refuses the path %j in every request', async (path) => {
    const { client, shared } = await createShare();
    const requests = [
      open(client, path, READ),
      open(client, path, CREATE),
      client.request(REQUEST.lstat, path),
      client.request(REQUEST.stat, path),
      client.request(REQUEST.setstat, path, NO_ATTRIBUTES),
      client.request(REQUEST.opendir, path),
      client.request(REQUEST.remove, path),
      client.request(REQUEST.mkdir, path, NO_ATTRIBUTES),
      client.request(REQUEST.rmdir, path),
      client.request(REQUEST.readlink, path),
      client.request(REQUEST.symlink, 'target', path),
      client.request(REQUEST.rename, path, '/home/me/stolen'),
      client.request(REQUEST.rename, '/home/me/file', path),
      client.request(REQUEST.extended, 'posix-rename@openssh.com', path, '/home/me/stolen'),
      client.request(REQUEST.extended, 'hardlink@openssh.com', path, '/home/me/stolen'),
      client.request(REQUEST.extended, 'statvfs@openssh.com', path),
    ];
    const statuses = (await Promise.all(requests)).map(({ status }) => status);
    expect(statuses.map((status) => status !== undefined && status !== STATUS.ok)).toEqual(requests.map(() => true));
    expect(readdirSync(shared).toSorted()).toEqual(['.config', '.ssh', 'file', 'folder', 'out', 'out-file']);
    expect(readFileSync(join(shared, '../outside/file'), 'utf8')).toBe('outside');
  });

  test('opens no file through a symbolic link, and lets a machine read the link', async () => {
    const { client, path } = await createShare();
    expect((await open(client, '/home/me/out-file', READ)).type).toBe(101);
    expect((await open(client, '/home/me/out-file', CREATE)).type).toBe(101);
    expect((await client.request(REQUEST.setstat, '/home/me/out-file', 1, 0, 0)).status).not.toBe(STATUS.ok);
    expect((await client.request(REQUEST.setstat, '/home/me/out-file', 4, 0o600)).status).toBe(STATUS.ok);
    expect((await client.request(REQUEST.readlink, '/home/me/out-file')).text).toBe(join(path, 'outside/file'));
    expect(readFileSync(join(path, 'outside/file'), 'utf8')).toBe('outside');
    expect(statSync(join(path, 'outside/file')).mode & 0o777).not.toBe(0o600);
  });

  test('neither opens a handle that a machine made up outside its folders nor one of another file', async () => {
    const { client, path } = await createShare();
    const inode = statSync(join(path, 'outside/file')).ino;
    for (const handle of [
      `abc-1;f;0;${inode};/home/me/out-file`,
      `abc-1;f;0;${inode};/home/me/../../outside/file`,
      `abc-1;f;0;${inode};${path}/outside/file`,
      `abc-1;f;0;${inode};/home/me/file`,
      'abc-1;d;/home/me/out',
      '',
    ]) {
      expect((await read(client, handle)).status).not.toBe(STATUS.ok);
      expect((await client.request(REQUEST.readdir, handle)).type).toBe(101);
    }
    const [own, kept] = [statSync(join(path, 'shared/file')).ino, statSync(join(path, 'read-only/file')).ino];
    expect((await read(client, `abc-1;f;0;${own};/home/me/file`)).text).toBe('inside');
    // The flags are the machine's too: they create and empty nothing, and write nowhere that is read-only.
    expect((await read(client, `abc-2;f;${0o1000 + 2};${own};/home/me/file`)).text).toBe('inside');
    expect((await write(client, `abc-1;f;2;${kept};/data/file`, 0, 'x')).status).toBe(STATUS.permissionDenied);
  });

  test('shows secret folders as closed, and neither makes, moves nor removes them', async () => {
    const { client, shared } = await createShare();
    const { body } = await client.request(REQUEST.lstat, '/home/me/.ssh');
    expect(body.readUInt32BE(20).toString(8)).toBe('40000');
    for (const answer of [
      client.request(REQUEST.opendir, '/home/me/.ssh'),
      client.request(REQUEST.rmdir, '/home/me/.config'),
      client.request(REQUEST.rename, '/home/me/.config', '/home/me/other'),
      client.request(REQUEST.rename, '/home/me/folder', '/home/me/.missing'),
      client.request(REQUEST.mkdir, '/home/me/.missing', NO_ATTRIBUTES),
      client.request(REQUEST.symlink, 'folder', '/home/me/.missing'),
      open(client, '/home/me/.missing', CREATE),
    ]) {
      expect((await answer).status).toBe(STATUS.permissionDenied);
    }
    expect(readdirSync(join(shared, '.ssh'))).toEqual(['key']);
  });

  test('serves no folder that a secret folder is a link to', async () => {
    const { path } = await createShare();
    mkdirSync(join(path, 'home/dotfiles/ssh'), { recursive: true });
    writeFileSync(join(path, 'home/dotfiles/ssh/key'), 'key');
    symlinkSync('dotfiles/ssh', join(path, 'home/.ssh'));
    const server = createFolderServer({
      folders: [{ folder: join(path, 'home'), machinePath: '/home/me', isReadOnly: false }],
      secretFolders: [join(path, 'home/.ssh')],
    });
    onTestFinished(() => server.close());
    const client = connectClient(server);
    expect((await open(client, '/home/me/dotfiles/ssh/key', READ)).status).toBe(STATUS.permissionDenied);
    expect((await client.request(REQUEST.opendir, '/home/me/dotfiles/ssh')).status).toBe(STATUS.permissionDenied);
    const moved = client.request(REQUEST.rename, '/home/me/dotfiles', '/home/me/other');
    expect((await moved).status).toBe(STATUS.permissionDenied);
  });

  test('changes nothing in a read-only folder', async () => {
    const { client, path } = await createShare();
    const { text: handle } = await open(client, '/data/file', READ);
    for (const answer of [
      open(client, '/data/file', CREATE),
      open(client, '/data/file', READ | 16),
      client.request(REQUEST.fsetstat, handle, 1, 0, 0),
      client.request(REQUEST.setstat, '/data/file', 4, 0o777),
      client.request(REQUEST.remove, '/data/file'),
      client.request(REQUEST.mkdir, '/data/new', NO_ATTRIBUTES),
      client.request(REQUEST.rename, '/data/file', '/home/me/moved'),
      client.request(REQUEST.rename, '/home/me/file', '/data/moved'),
      client.request(REQUEST.extended, 'hardlink@openssh.com', '/data/file', '/home/me/linked'),
    ]) {
      expect((await answer).status).toBe(STATUS.permissionDenied);
    }
    expect([readdirSync(join(path, 'read-only')), readFileSync(join(path, 'read-only/file'), 'utf8')]).toEqual([
      ['file'],
      'kept',
    ]);
  });

  test('gives no file the right to run as its owner', async () => {
    const { client, shared } = await createShare();
    await client.request(REQUEST.open, '/home/me/program', CREATE, 4, 0o4755);
    await client.request(REQUEST.setstat, '/home/me/file', 4, 0o6755);
    expect(statSync(join(shared, 'program')).mode & 0o7000).toBe(0);
    expect((statSync(join(shared, 'file')).mode & 0o7777).toString(8)).toBe('755');
  });

  test('keeps an open file across connections of one machine, even one that was deleted', async () => {
    const { client, server, shared } = await createShare();
    await client.sendInit({ 'session@slipway': SESSION });
    const { text: handle } = await open(client, '/home/me/file', READ);
    await client.request(REQUEST.remove, '/home/me/file');
    const next = connectClient(server);
    await next.sendInit({ 'session@slipway': SESSION });
    expect((await read(next, handle)).text).toBe('inside');
    expect(client.stream.destroyed).toBe(true);
    expect(existsSync(join(shared, 'file'))).toBe(false);
    const other = connectClient(server);
    await other.sendInit({ 'session@slipway': `${SESSION}ff` });
    expect((await read(other, handle)).status).toBe(STATUS.noSuchFile);
  });

  test('answers a repeated request as done if it was, and as failed if another program did the same', async () => {
    const { client, shared, path } = await createShare();
    const handleOf = async (name: string, flags: number): Promise<string> => (await open(client, name, flags)).text;
    mkdirSync(join(shared, 'made'));
    writeFileSync(join(shared, 'moved'), '');
    writeFileSync(join(shared, 'lock'), '');
    writeFileSync(join(shared, 'held'), 'by pid 1');
    symlinkSync('target', join(shared, 'link'));
    linkSync(join(shared, 'file'), join(shared, 'hard'));
    writeFileSync(join(shared, 'log'), 'one\ntw');
    const log = await handleOf('/home/me/log', APPEND);
    const requests = (): readonly Promise<Answer>[] => [
      client.request(REQUEST.mkdir, '/home/me/made', NO_ATTRIBUTES),
      client.request(REQUEST.remove, '/home/me/gone'),
      client.request(REQUEST.rmdir, '/home/me/gone'),
      client.request(REQUEST.extended, 'posix-rename@openssh.com', '/home/me/gone', '/home/me/moved'),
      client.request(REQUEST.symlink, 'target', '/home/me/link'),
      client.request(REQUEST.extended, 'hardlink@openssh.com', '/home/me/file', '/home/me/hard'),
      open(client, '/home/me/lock', EXCLUSIVE),
    ];
    const failing = async (count: number, sent: number): Promise<readonly boolean[]> => {
      await client.sendInit({
        'session@slipway': SESSION,
        'replay@slipway': `${count} ${sent} ${Math.max(sent - 2, 0)}`,
      });
      return (await Promise.all(requests())).map(({ status }) => status !== undefined && status !== STATUS.ok);
    };
    expect(await failing(0, 1)).toEqual(Array.from({ length: 7 }, () => true));
    expect(await failing(7, 1)).toEqual(Array.from({ length: 7 }, () => false));
    // What was made long after the request's connection ended was made by another program.
    expect(await failing(7, 1000)).toEqual([true, false, false, true, false, false, true]);
    await client.sendInit({ 'session@slipway': SESSION, 'replay@slipway': '3 1 0' });
    expect((await open(client, '/home/me/held', EXCLUSIVE)).status).toBe(STATUS.failure);
    expect((await write(client, log, 4, 'two\n')).status).toBe(STATUS.ok);
    expect((await write(client, log, 4, 'two\n')).status).toBe(STATUS.ok);
    expect((await write(client, log, 8, 'three\n')).status).toBe(STATUS.ok);
    expect(readFileSync(join(path, 'shared/log'), 'utf8')).toBe('one\ntwo\nthree\n');
  });

  test('answers in the order of the requests', async () => {
    const { client } = await createShare();
    const order: number[] = [];
    const track = (number: number, answer: Promise<Answer>): Promise<unknown> => answer.then(() => order.push(number));
    await Promise.all([
      track(1, open(client, '/home/me/new', CREATE)),
      track(2, client.request(REQUEST.lstat, '/home/me/new')),
      track(3, client.request(REQUEST.remove, '/home/me/new')),
      track(4, client.request(REQUEST.lstat, '/home/me/new')),
    ]);
    expect(order).toEqual([1, 2, 3, 4]);
  });

  test('names keep their bytes, whatever they are', async () => {
    const { client, shared } = await createShare();
    const name = Buffer.from([0xe4, 0xff, 0x80]);
    const path = Buffer.concat([Buffer.from('/home/me/folder/'), name]);
    const length = Buffer.from([0, 0, 0, path.length]);
    expect((await client.request(REQUEST.open, length, path, CREATE, NO_ATTRIBUTES)).type).toBe(102);
    expect(readdirSync(join(shared, 'folder'), 'buffer')).toEqual([name]);
    const { text: handle } = await client.request(REQUEST.opendir, '/home/me/folder');
    expect((await client.request(REQUEST.readdir, handle)).body.includes(name)).toBe(true);
  });

  test('stops reading requests of a machine that does not read answers', async () => {
    const { client } = await createShare();
    const { text: handle } = await open(client, '/home/me/big', CREATE | READ);
    for (let part = 0; part < 8; part += 1) await write(client, handle, part * 65_536, 'x'.repeat(65_536));
    client.stream.pause();
    const request = packetOf(REQUEST.read, 7, handle, 0, 0, 65_536);
    const before = process.memoryUsage().arrayBuffers;
    for (let count = 0; count < 20_000; count += 1) client.stream.write(request);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(100_000_000);
  });

  test('closes a connection that sends no packets, and serves others', async () => {
    const { client, server } = await createShare();
    const closed = new Promise((resolve) => client.stream.once('close', resolve));
    client.stream.write(Buffer.from('GET / HTTP/1.1\r\n\r\n'));
    await closed;
    const next = connectClient(server);
    expect((await next.request(REQUEST.lstat, '/home/me/file')).type).toBe(105);
  });

  test('survives whatever a machine sends', async () => {
    const { server, path } = await createShare();
    const texts = fc.oneof(
      fc.constantFrom('/home/me', '/home/me/file', '/home/me/out', '/home/me/.ssh', '/data/file', '', '/'),
      fc.constantFrom('abc-1;f;0;1;/home/me/file', 'abc-1;d;/home/me', 'session@slipway', 'replay@slipway', '9e9 -1 x'),
      fc.string({ unit: 'binary', maxLength: 40 }),
    );
    const fields = fc.array(
      fc.oneof(
        texts,
        fc.integer({ min: 0, max: 0xffffffff }),
        fc.integer({ min: 0, max: 40 }),
        fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
      ),
      { maxLength: 8 },
    );
    const types = fc.oneof(fc.constantFrom(...Object.values(REQUEST)), fc.integer({ min: 0, max: 255 }));
    const packets = fc.array(
      fc.oneof(
        fc.tuple(types, fields).map(([type, list]) => packetOf(type, 1, ...list)),
        fc.tuple(fc.constant(1), fields).map(([type, list]) => packetOf(type, 3, ...list)),
        fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
      ),
      { maxLength: 12 },
    );
    await fc.assert(
      fc.asyncProperty(packets, fc.integer({ min: 1, max: 50 }), async (list, step) => {
        const { stream } = connectClient(server);
        const bytes = Buffer.concat(list);
        for (let at = 0; at < bytes.length; at += step) stream.write(bytes.subarray(at, at + step));
        stream.end();
        await new Promise((resolve) => setImmediate(resolve));
      }),
      { numRuns: 150 },
    );
    expect((await connectClient(server).request(REQUEST.lstat, '/home/me')).type).toBe(105);
    expect(readFileSync(join(path, 'outside/file'), 'utf8')).toBe('outside');
    expect(readFileSync(join(path, 'shared/.ssh/key'), 'utf8')).toBe('key');
  });
});
