import { parseListFilter } from './compute-catalog.ts';
import type { GceWorld, Labels, ListedResource, RequestParams } from './gce-world.ts';

/** A small page, so that all code that reads several pages runs. */
const PAGE_SIZE = 2;

function paged<T>(
  all: readonly T[],
  { pageToken, maxResults }: RequestParams,
): { items: readonly T[]; nextPageToken?: string } {
  const from = Number(pageToken ?? 0);
  const to = from + Math.min(PAGE_SIZE, Number(maxResults ?? PAGE_SIZE));
  return { items: all.slice(from, to), ...(to < all.length ? { nextPageToken: String(to) } : {}) };
}

/** Returns a page of those resources that show and match the filter. */
export function list<T extends ListedResource>(
  world: GceWorld,
  all: readonly T[],
  params: RequestParams,
  labels: (one: T) => Labels,
  shown: (one: T) => object,
): object {
  const matches = world.cloud.isEmulator ? () => true : parseListFilter(params.filter);
  const { items, nextPageToken } = paged(
    all.filter((one) => world.cloud.isShown(one)).filter((one) => matches(labels(one))),
    params,
  );
  return {
    ...(items.length > 0 ? { items: items.map(shown) } : {}),
    ...(nextPageToken === undefined ? {} : { nextPageToken }),
  };
}

/** Returns a page as `list` does, grouped by zone or region. */
export function aggregated<T extends ListedResource>(
  world: GceWorld,
  [kind, scope, places]: readonly [string, string, readonly string[]],
  all: readonly T[],
  params: RequestParams,
  labels: (one: T) => Labels,
  shown: (one: T) => object,
): object {
  const matches = world.cloud.isEmulator ? () => true : parseListFilter(params.filter);
  const { items, nextPageToken } = paged(
    all.filter((one) => world.cloud.isShown(one)).filter((one) => matches(labels(one))),
    params,
  );
  const scoped = places.map((place) => {
    const here = items.filter((one) => one.place === place).map(shown);
    const empty = {
      warning: {
        code: 'NO_RESULTS_ON_PAGE',
        message: `There are no results for scope '${scope}/${place}' on this page.`,
        data: [{ key: 'scope', value: `${scope}/${place}` }],
      },
    };
    return [`${scope}/${place}`, here.length > 0 ? { [kind]: here } : empty] as const;
  });
  return { items: Object.fromEntries(scoped), ...(nextPageToken === undefined ? {} : { nextPageToken }) };
}

export const noLabels = (): Labels => ({});
