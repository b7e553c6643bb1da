import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { SlipwayError } from '../../errors.ts';
import { defineDriver } from '../contract.ts';

export const none = defineDriver({
  name: 'none',
  summary: 'an engine that exists already, by its URL',
  retainedOnRemove: 'the engine stays as it is',
  options: z.object({
    url: z
      .string()
      .regex(
        /^(tcp:\/\/(\[[0-9a-fA-F:.]+\]|[\w.-]+):\d{1,5}\/?|unix:\/\/\/.+)$/,
        'a URL like tcp://192.0.2.10:2376 or unix:///run/docker.sock',
      )
      .meta({ description: 'URL of the engine', ask: 'URL of the engine?', also: ['url'], value: 'url' }),
    tlsCa: z.string().min(1).optional().meta({ description: "CA certificate that signed the engine's", value: 'file' }),
    tlsCert: z.string().min(1).optional().meta({ description: 'Client certificate', value: 'file' }),
    tlsKey: z.string().min(1).optional().meta({ description: 'Key of the client certificate', value: 'file' }),
  }),
  changeKindOf() {
    // It made nothing, so all that it knows is where to look.
    return 'live';
  },
  async health() {
    return { usable: true };
  },
  async validate({ options: { url, tlsCa, tlsCert, tlsKey } }) {
    // A port above 65535, or brackets around what is no address.
    if (url.startsWith('tcp:') && !URL.canParse(url.replace(/^tcp:/, 'http:'))) {
      throw new SlipwayError('USAGE', `--none-url is no URL: ${url}`, { hint: 'Give one like tcp://192.0.2.10:2376' });
    }
    const files = { 'none-tls-ca': tlsCa, 'none-tls-cert': tlsCert, 'none-tls-key': tlsKey };
    const missing = Object.entries(files).filter(([, file]) => file === undefined);
    if (missing.length > 0 && missing.length < 3) {
      throw new SlipwayError(
        'USAGE',
        `TLS takes all three files; ${missing.map(([flag]) => `--${flag}`).join(' and ')} ${missing.length === 1 ? 'is' : 'are'} missing`,
        {
          hint: `Add ${missing.map(([flag]) => `--${flag} <file>`).join(' ')}`,
        },
      );
    }
    if (missing.length === 0 && url.startsWith('unix:')) {
      throw new SlipwayError('USAGE', 'A unix:// URL takes no TLS files', { hint: 'Leave out the --none-tls-* flags' });
    }
    for (const [flag, file] of Object.entries(files)) {
      if (file === undefined) continue;
      await readFile(file).catch((error: unknown) => {
        throw new SlipwayError('USAGE', `${file} can't be read`, { hint: `Check --${flag}`, cause: error });
      });
    }
  },
  async inspect({ options: { url, tlsCa, tlsCert, tlsKey } }) {
    const address = url.startsWith('unix:')
      ? 'localhost'
      : new URL(url.replace(/^tcp:/, 'http:')).hostname.replace(/^\[|\]$/g, '');
    const tls =
      tlsCa !== undefined && tlsCert !== undefined && tlsKey !== undefined
        ? { ca: tlsCa, cert: tlsCert, key: tlsKey }
        : undefined;
    return {
      state: 'running',
      host: { address, engine: { url: url.replace(/(:\d+)\/$/, '$1'), ...(tls ? { tls } : {}) } },
    };
  },
});
