import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Computer } from '../computer/computer.ts';
import { SlipwayError } from '../errors.ts';
import type { PortAddress } from '../machine/forward.ts';
import type { RemoteCommand } from '../ssh/session.ts';
import { sh } from '../ssh/shell.ts';
import type { LinkConnection } from './link-connection.ts';
import { createUdpFrameReader, encodeUdpFrame, type UdpFrame } from './udp-frames.ts';

/** Carries datagrams over the SSH connection, for all UDP ports of a machine. SSH itself forwards TCP only. */
export type UdpRelay = {
  /** Starts the program on the host. Returns why the host can't run it, or undefined: it may only be away now. */
  readonly findProblem: () => Promise<string | undefined>;
  /** Creates a flow: what is sent on it comes from one UDP port of the host, and so do the answers. */
  readonly open: (target: PortAddress, onAnswer: (payload: Buffer) => void) => UdpFlow;
  readonly close: () => void;
};

export type UdpFlow = { readonly send: (payload: Buffer) => void; readonly close: () => void };

type FlowRecord = { readonly target: PortAddress; readonly onAnswer: (payload: Buffer) => void };
/** The program on the host. `flows` are those that it knows. */
type Helper = { readonly stream: RemoteCommand['stream']; readonly flows: Set<number> };

/** More waiting bytes would only be delivered too late. */
const LONGEST_QUEUE_BYTES = 1024 * 1024;
/** How long a new port waits for the answer of the host. */
const PATIENCE_MS = 3000;
/** Datagrams that wait until the program runs. */
const LONGEST_WAIT = 64;

/** Creates the relay of a link. The program on the host starts when it is first needed, and again when it was lost. */
export function createUdpRelay({
  session,
  computer,
}: Pick<LinkConnection, 'session'> & { readonly computer: Pick<Computer, 'templates'> }): UdpRelay {
  const flows = new Map<number, FlowRecord>();
  const waiting: { readonly flow: number; readonly payload: Buffer }[] = [];
  let helper: Promise<Helper> | undefined;
  let running: Helper | undefined;
  let lastFlow = 0;

  const onFrame = ({ kind, flow, payload }: UdpFrame): void => {
    if (kind === 'D') flows.get(flow)?.onAnswer(payload);
  };
  const onEnd = (): void => {
    helper = undefined;
    running = undefined;
  };
  const start = (): Promise<Helper> => {
    helper ??= startHelper(session, join(computer.templates, 'link', 'udp.pl'), onFrame, onEnd).then(
      (started) => {
        if (!started.stream.destroyed) running = started;
        return started;
      },
      (error: unknown) => {
        helper = undefined;
        throw error;
      },
    );
    return helper;
  };
  const write = ({ stream, flows: known }: Helper, flow: number, payload: Buffer): void => {
    const record = flows.get(flow);
    if (record === undefined || stream.destroyed || stream.writableLength > LONGEST_QUEUE_BYTES) return;
    if (!known.has(flow)) {
      const { address, port } = record.target;
      stream.write(encodeUdpFrame({ kind: 'O', flow, payload: Buffer.from(`${address} ${port}`) }));
      known.add(flow);
    }
    stream.write(encodeUdpFrame({ kind: 'D', flow, payload }));
  };
  const sendLater = (flow: number, payload: Buffer): void => {
    waiting.push({ flow, payload });
    if (waiting.length > LONGEST_WAIT) waiting.shift();
    if (waiting.length > 1 && helper !== undefined) return;
    start().then(
      (started) => {
        for (const datagram of waiting.splice(0)) write(started, datagram.flow, datagram.payload);
      },
      () => waiting.splice(0),
    );
  };

  return {
    async findProblem() {
      const outcome = start().then(
        () => undefined,
        (error: unknown) => (error instanceof UdpHelperError ? error.message : undefined),
      );
      // While the machine is away, ports are opened nevertheless, and soon.
      const patience = new AbortController();
      const isAway = sleep(PATIENCE_MS, undefined, { signal: patience.signal }).catch(() => undefined);
      return await Promise.race([outcome, isAway]).finally(() => patience.abort());
    },
    open(target, onAnswer) {
      const flow = (lastFlow += 1);
      flows.set(flow, { target, onAnswer });
      return {
        send(payload) {
          if (running === undefined) sendLater(flow, payload);
          else write(running, flow, payload);
        },
        close() {
          flows.delete(flow);
          if (running?.flows.delete(flow) !== true || running.stream.destroyed) return;
          running.stream.write(encodeUdpFrame({ kind: 'C', flow, payload: Buffer.alloc(0) }));
        },
      };
    },
    close() {
      flows.clear();
      void helper?.then(
        ({ stream }) => stream.destroy(),
        () => {},
      );
    },
  };
}

/** The host can't run the program. Its message says why. */
class UdpHelperError extends Error {}

/** Starts the program on the host, and returns once it is ready. */
async function startHelper(
  session: LinkConnection['session'],
  scriptFile: string,
  onFrame: (frame: UdpFrame) => void,
  onEnd: () => void,
): Promise<Helper> {
  const script = await readFile(scriptFile);
  const { stream, ended } = await (await session()).startCommand(loaderFor(script), 'forward UDP');
  const readFrames = createUdpFrameReader();
  await new Promise<void>((resolve, reject) => {
    stream.on('error', () => {}).once('close', onEnd);
    stream.on('data', (chunk: Buffer) => {
      for (const frame of readFrames(chunk)) {
        if (frame.kind === 'R') resolve();
        else onFrame(frame);
      }
    });
    void ended.then((result) => reject(helperError(result)));
    stream.write(script);
  });
  return { stream, flows: new Set() };
}

/** Returns a command that any shell runs: perl reads the script from its input, where the frames follow. */
function loaderFor(script: Buffer): ReturnType<typeof sh> {
  const size = String(script.length);
  const loader = `while (length($s) < ${size}) { sysread(STDIN, $s, ${size} - length($s), length($s)) or exit 1 } eval $s; die $@ if $@`;
  return sh`exec perl -e ${loader}`;
}

function helperError({ code, stderr }: Awaited<RemoteCommand['ended']>): Error {
  if (code === undefined) return new SlipwayError('SSH_LOST', 'The SSH connection was lost');
  if (code === 127) return new UdpHelperError('the machine has no perl, which UDP ports require');
  return new UdpHelperError(`perl failed on the machine: ${stderr.trim().split('\n').at(-1) ?? ''}`);
}
