import { parseListFilter } from './compute-catalog.ts';
import type { GceWorld, Labels, ListedResource, Methods, RequestParams } from './gce-world.ts';

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

/** Returns a page of the resources that show and match the filter; an emulator ignores filters. */
function matchingPage<T extends ListedResource>(
  world: GceWorld,
  all: readonly T[],
  params: RequestParams,
  labels: (one: T) => Labels,
): ReturnType<typeof paged<T>> {
  const matches = world.cloud.isEmulator ? () => true : parseListFilter(params.filter);
  return paged(
    all.filter((one) => world.cloud.isShown(one)).filter((one) => matches(labels(one))),
    params,
  );
}

/** Returns a page of the resources that show and match the filter. */
export function list<T extends ListedResource>(
  world: GceWorld,
  all: readonly T[],
  params: RequestParams,
  labels: (one: T) => Labels,
  toDocument: (one: T) => object,
): object {
  const { items, nextPageToken } = matchingPage(world, all, params, labels);
  return {
    ...(items.length > 0 ? { items: items.map(toDocument) } : {}),
    ...(nextPageToken === undefined ? {} : { nextPageToken }),
  };
}

/** Returns a page as `list` does, grouped by zone or region. */
function aggregated<T extends ListedResource>(
  world: GceWorld,
  [kind, scope, places]: readonly [string, string, readonly string[]],
  all: readonly T[],
  params: RequestParams,
  labels: (one: T) => Labels,
  toDocument: (one: T) => object,
): object {
  const { items, nextPageToken } = matchingPage(world, all, params, labels);
  const scoped = places.map((place) => {
    const here = items.filter((one) => one.place === place).map(toDocument);
    if (world.cloud.unreachable.includes(place))
      return [
        `${scope}/${place}`,
        { warning: { code: 'UNREACHABLE', message: `The following scope was unreachable: ${scope}/${place}` } },
      ] as const;
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

type ListedKind<T> = {
  readonly kind: string;
  readonly scope: 'zones' | 'regions';
  readonly places: readonly string[];
  readonly all: (world: GceWorld) => readonly T[];
  readonly toDocument: (world: GceWorld, one: T) => object;
};

/** Returns the two methods that list a kind of labelled resources: in one zone or region, and in all of them. */
export function listMethods<T extends ListedResource & { readonly labels: Labels }>({
  kind,
  scope,
  places,
  all,
  toDocument,
}: ListedKind<T>): Methods {
  const labels = (one: T): Labels => one.labels;
  return {
    [`${kind}.list`](world, params) {
      const place = scope === 'zones' ? params.zone : params.region;
      const here = all(world).filter((one) => one.place === place);
      return list(world, here, params, labels, (one) => toDocument(world, one));
    },
    [`${kind}.aggregatedList`]: (world, params) =>
      aggregated(world, [kind, scope, places], all(world), params, labels, (one) => toDocument(world, one)),
  };
}

export const noLabels = (): Labels => ({});
