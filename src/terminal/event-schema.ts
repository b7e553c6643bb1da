import { z } from 'zod';
import { type ErrorCode, exitCodes } from '../errors.ts';

const code = z
  .enum([...(Object.keys(exitCodes) as ErrorCode[]), 'BUG'])
  .meta({ description: "Stable, see docs/options.md; BUG is an error that is none of the user's" });
const machine = z.string().optional().meta({ description: 'Of which machine, where there are several' });
const id = z.string().meta({ description: 'The step that it is of; ids are stable' });

const step = z
  .strictObject({
    event: z.literal('step'),
    id,
    title: z.string().meta({ description: 'For people' }),
    state: z.enum(['started', 'done', 'failed']),
    elapsed: z.number().min(0).optional().meta({ description: 'Seconds, once it is done or failed' }),
    error: code.optional(),
    parent: z.string().optional().meta({ description: 'The id of the step that it is a part of' }),
    machine,
  })
  .meta({ description: 'A piece of work began, or ended' });

const output = z
  .strictObject({ event: z.literal('output'), id, line: z.string(), machine })
  .meta({ description: 'A line of what a step says, as it came' });

const progress = z
  .strictObject({
    event: z.literal('progress'),
    id,
    done: z.int().min(0).meta({ description: 'Bytes' }),
    total: z.int().min(0).optional().meta({ description: 'Bytes, where they are known' }),
    rate: z.number().min(0).optional().meta({ description: 'Bytes a second, of the last seconds' }),
    machine,
  })
  .meta({ description: 'How far a download or the like is; four a second at most' });

const note = z
  .strictObject({ event: z.literal('note'), text: z.string(), machine })
  .meta({ description: 'A fact that the user should know' });

const result = z
  .strictObject({ event: z.literal('result'), result: z.unknown() })
  .meta({ description: 'The last line of a command that came to its end: its document' });

const error = z
  .strictObject({
    event: z.literal('error'),
    error: z.strictObject({
      code,
      message: z.string(),
      hint: z.string().optional().meta({ description: 'What to type next' }),
      detail: z.array(z.string()).optional().meta({ description: "Somebody else's lines that explain it" }),
    }),
  })
  .meta({ description: 'The last line of a command that failed' });

const event = z.discriminatedUnion('event', [step, output, progress, note, result, error]);

/** One line of --json where there are steps. */
export type CliEvent = z.infer<typeof event>;

/** events.schema.json, as it is published. */
export function eventsSchema(): object {
  const { $schema, ...schema } = z.toJSONSchema(event);
  return {
    $schema,
    title: 'Events of slipway --json',
    description:
      'Where a command has steps, --json prints one of these a line. Made by `npm run docs` from the declaration that the program is typed by.',
    ...schema,
  };
}
