import { readFile } from 'node:fs/promises';
import { fileReasonOf } from '../../computer/files.ts';
import { SlipwayError } from '../../errors.ts';
import type { ExistingDriverCode } from '../contract.ts';
import type { NoneOptions } from './options.ts';

export const driver: ExistingDriverCode<NoneOptions> = {
  machines: {
    async validate({ options: { url, tlsCa, tlsCert, tlsKey } }) {
      // The pattern of the option allows ports above 65535, and brackets around something that is not an address.
      if (url.startsWith('tcp:') && !URL.canParse(url.replace(/^tcp:/, 'http:'))) {
        throw new SlipwayError('USAGE', `--none-url is not a URL: ${url}`, {
          hint: 'For example: --none-url tcp://192.0.2.10:2376',
        });
      }
      const files = { 'none-tls-ca': tlsCa, 'none-tls-cert': tlsCert, 'none-tls-key': tlsKey };
      const missing = Object.entries(files).filter(([, file]) => file === undefined);
      if (missing.length > 0 && missing.length < 3) {
        throw new SlipwayError(
          'USAGE',
          `TLS requires three files: ${missing.map(([flag]) => `--${flag}`).join(' and ')} ${missing.length === 1 ? 'is' : 'are'} missing`,
          {
            hint: `Add ${missing.map(([flag]) => `--${flag} <file>`).join(' ')}`,
          },
        );
      }
      if (missing.length === 0 && url.startsWith('unix:')) {
        throw new SlipwayError('USAGE', 'TLS files are not supported with a unix:// URL', {
          hint: 'Omit the --none-tls-* flags',
        });
      }
      for (const [flag, file] of Object.entries(files)) {
        if (file === undefined) continue;
        await readFile(file).catch((error: unknown) => {
          throw new SlipwayError('USAGE', `${file} can't be read: ${fileReasonOf(error)}`, {
            hint: `Check --${flag}`,
            cause: error,
          });
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
  },
};
