import type { Computer } from '../../src/computer/computer.ts';
import type { CreateCall } from '../../src/drivers/contract.ts';

/** A call of a driver that collects its notes and its recorded requests. */
export type RecordingCall = CreateCall & {
  readonly notes: string[];
  readonly recordedRequests: string[];
  /** One item for each time that the driver cleared the recorded request. */
  readonly clearedRequests: string[];
};

/** Creates a call on this computer. Several calls may share the same lists. */
export function createRecordingCall(
  computer: Computer,
  {
    signal = new AbortController().signal,
    notes = [],
    recordedRequests = [],
    clearedRequests = [],
  }: {
    readonly signal?: AbortSignal;
    readonly notes?: string[];
    readonly recordedRequests?: string[];
    readonly clearedRequests?: string[];
  } = {},
): RecordingCall {
  return {
    computer,
    log: () => {},
    note: (text) => void notes.push(text),
    signal,
    notes,
    recordedRequests,
    clearedRequests,
    recordRequest: async (what) => void recordedRequests.push(what),
    async clearRequest() {
      clearedRequests.push(recordedRequests.at(-1) ?? '');
      recordedRequests.push('nothing');
    },
  };
}
