import { resolve } from 'node:path';
import fc from 'fast-check';
import { z } from 'zod';
import type { OptionSpec } from '../../src/machine/options.ts';
import { anyWordMatching } from './awkward-words.ts';

/** Generates values that a schema accepts: each from the option's own pattern and from awkward words. */
export function anyValuesFor(schema: z.ZodObject, specs: readonly OptionSpec[]): fc.Arbitrary<Record<string, unknown>> {
  const patterns = z.toJSONSchema(schema, { io: 'input' }).properties as Record<
    string,
    { pattern?: string; items?: { pattern?: string } }
  >;
  const anyTextOf = (info: OptionSpec): fc.Arbitrary<string> => {
    if (info.key === 'tlsSan') return fc.constantFrom('web', '*.example.org', '10.0.0.1', '2001:db8::1', 'a.b-c');
    const pattern = patterns[info.key]?.pattern ?? patterns[info.key]?.items?.pattern;
    const any = anyWordMatching(new RegExp(pattern ?? String.raw`^[\s\S]+$`, 'u'));
    // A login in the URL is kept apart from the other options.
    if (['repositoryUrl', 'installUrl'].includes(info.key))
      return any.filter((url) => !url.includes('@') && URL.canParse(url));
    return info.valueName === 'file' ? any.map((path) => resolve('/', path)) : any;
  };
  const anyValueOf = (info: OptionSpec): fc.Arbitrary<unknown> => {
    if (info.kind === 'choice') return fc.constantFrom(...info.choices);
    if (info.kind === 'int') return fc.integer({ min: 1, max: 65535 });
    if (info.kind === 'boolean') return fc.boolean();
    // An empty word as a flag clears the list.
    const words = anyTextOf(info).filter((word) => word !== '');
    return info.kind === 'list' ? fc.array(words, { maxLength: 4 }) : anyTextOf(info);
  };
  const required = specs.filter((info) => info.required).map(({ key }) => key);
  return fc
    .record(Object.fromEntries(specs.map((info) => [info.key, anyValueOf(info)])), { requiredKeys: required })
    .filter((values) => schema.safeParse(values).success);
}
