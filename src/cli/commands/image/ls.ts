import { z } from 'zod';
import type { SpareSummary } from '../../../drivers/contract.ts';
import { shortDigest, type Image } from '../../../images/image.ts';
import type { ListedImage } from '../../../images/image-store.ts';
import { listSpares } from '../../../operations/warm-pool.ts';
import { defineCommand, type Cli, type Command } from '../../command.ts';
import { formatTable } from '../../../terminal/text-output.ts';

const args = z.object({
  quiet: z.boolean().default(false).meta({ description: 'Print digests only, as `image rm` takes them', short: 'q' }),
});

type ImageRow = {
  readonly name: string;
  readonly arch: string;
  readonly digest: string;
  readonly engine: string;
  readonly bytes: number;
  readonly made: string;
  readonly source: Image['source'] | null;
  readonly usedBy: readonly string[];
  /** Spare machines that a create can take. */
  readonly spares: readonly SpareSummary[];
  readonly trouble: string;
};

export const imageLs: Command<typeof args> = defineCommand({
  name: 'image ls',
  summary: 'List the local images from which VMs boot',
  usage: '',
  args,
  async run({ args: { quiet } }, cli) {
    const listed = await cli.images.list();
    if (quiet) {
      const digests = listed.map(({ key }) => shortDigest(key.digest));
      return { json: digests, text: digests.join('\n') };
    }
    const spares = await listSpares(cli.world);
    const rows = await Promise.all(listed.map((item) => loadImageRow(item, spares, cli)));
    if (rows.length === 0) return { json: rows, text: 'No images yet. To create one: slipway image build' };
    const cells = rows.map((row) => [
      row.name,
      row.arch,
      shortDigest(row.digest),
      row.engine || '-',
      row.trouble === '' ? formatMegabytes(row.bytes) : '',
      row.made.slice(0, 10),
      row.source === null ? row.trouble : formatSource(row.source),
      row.usedBy.join(', '),
      row.spares.map(formatSpare).join(', '),
    ]);
    return {
      json: rows,
      text: formatTable(['NAME', 'ARCH', 'DIGEST', 'ENGINE', 'SIZE', 'CREATED', 'SOURCE', 'USED BY', 'SPARES'], cells),
    };
  },
});

async function loadImageRow(
  item: ListedImage,
  all: readonly SpareSummary[],
  { images, findImageUsers }: Cli,
): Promise<ImageRow> {
  const usedBy = await findImageUsers(item.key);
  const spares = all.filter(({ image }) => image.startsWith(item.key.digest));
  if ('broken' in item) {
    return { ...item.key, engine: '', bytes: 0, made: '', source: null, usedBy, spares, trouble: item.broken.message };
  }
  const { name, arch, digest, engine, made, source } = item.image;
  return {
    name,
    arch,
    digest,
    engine,
    bytes: await images.getDiskUsage(item.image),
    made,
    source,
    usedBy,
    spares,
    trouble: '',
  };
}

/** Returns a spare's disk usage and the options in which spares of one image differ. */
export function formatSpare({ cpus, memory, disk, bytes }: SpareSummary): string {
  return `${formatMegabytes(bytes)} (${cpus} CPUs, ${memory} MB, ${disk} GB)`;
}

export function formatMegabytes(bytes: number): string {
  return `${Math.ceil(bytes / 1_000_000)} MB`;
}

function formatSource(source: Image['source']): string {
  return source.kind === 'built' ? `packages of ${source.suite}` : (source.url.split(/[/\\]/).at(-1) ?? source.url);
}
