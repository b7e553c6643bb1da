import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';

const readRepositoryFile = async (file: string): Promise<string> =>
  readFile(new URL(`../../${file}`, import.meta.url), 'utf8');

test('docs/clouds.md lists exactly the permissions that the EC2 driver needs', async () => {
  const sent = [...(await readRepositoryFile('src/drivers/ec2/sdk.ts')).matchAll(/^ {2}(\w+)Command,$/gm)].map(
    ([, name = '']) => name,
  );
  const row = /^\| EC2 \|(.+)\|$/m.exec(await readRepositoryFile('docs/clouds.md'))?.[1] ?? '';
  const listed = [...row.matchAll(/`(?:ec2:)?(\w+\*?)`/g)].map(([, name = '']) => name);
  const needed = new Set(sent.map((name) => (name.startsWith('Describe') ? 'Describe*' : name)));
  expect(sent).toContain('RunInstances');
  expect(listed.toSorted()).toEqual([...needed].toSorted());
});
