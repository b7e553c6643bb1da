import type { Store } from '../../store.ts';

type One = { readonly json: unknown; readonly text: string };

/** The same work on each of these machines. A name that is wrong stops it before anything is done. */
export async function inTurn(
  names: readonly string[],
  store: Store,
  work: (name: string) => Promise<One>,
): Promise<{ readonly json: readonly unknown[]; readonly text: string }> {
  for (const name of names) await store.read(name);
  const done: One[] = [];
  for (const name of names) done.push(await work(name));
  return { json: done.map(({ json }) => json), text: done.map(({ text }) => text).join('\n') };
}
