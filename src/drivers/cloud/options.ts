import { z } from 'zod';

const CIDR_PATTERN = /^([0-9.]+|[0-9a-fA-F:.]+)\/\d{1,3}$/;
const OPEN_PORT_PATTERN = /^\d{1,5}(\/(tcp|udp))?$/;

export const nonEmptyString = (): z.ZodString => z.string().min(1);

/** Returns the aliases of a flag: its names in docker-machine's driver, with the driver's prefix. */
export type DriverAliases = (...names: readonly string[]) => { also: readonly string[] };

/** Returns the function that creates aliases for the flags of one docker-machine driver: `amazonec2`, `google`. */
export const dockerMachineAliasesOf =
  (driver: string): DriverAliases =>
  (...names) => ({ also: names.map((name) => `${driver}-${name}`) });

/** Returns the option `allowCidr` of a cloud driver. */
export const allowCidrOption = (): z.ZodDefault<z.ZodArray<z.ZodString>> =>
  z.array(z.string().regex(CIDR_PATTERN, 'a CIDR block like 198.51.100.0/24')).default([]).meta({
    description: 'CIDR block that may connect to SSH and the engine, instead of your current address',
    value: 'cidr',
  });

/** Returns the option `openPort` of a cloud driver. */
export const openPortOption = (aliases: DriverAliases): z.ZodDefault<z.ZodArray<z.ZodString>> =>
  z
    .array(z.string().regex(OPEN_PORT_PATTERN, 'a port like 8080 or 53/udp'))
    .default([])
    .meta({ description: 'Additional port, open to the whole internet', value: 'port', ...aliases('open-port') });
