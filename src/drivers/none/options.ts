import { z } from 'zod';

export const noneOptions = z.object({
  url: z
    .string()
    .regex(
      /^(tcp:\/\/(\[[0-9a-fA-F:.]+\]|[\w.-]+):\d{1,5}\/?|unix:\/\/\/.+)$/,
      'a URL like tcp://192.0.2.10:2376 or unix:///run/docker.sock',
    )
    .meta({ description: 'URL of the engine', ask: 'URL of the engine?', also: ['url'], value: 'url' }),
  tlsCa: z
    .string()
    .min(1)
    .optional()
    .meta({ description: "CA certificate that signed the engine's certificate", value: 'file' }),
  tlsCert: z.string().min(1).optional().meta({ description: 'Client certificate', value: 'file' }),
  tlsKey: z.string().min(1).optional().meta({ description: 'Key of the client certificate', value: 'file' }),
});
export type NoneOptions = z.output<typeof noneOptions>;
