import type { Computer } from '../../src/computer/computer.ts';
import type { CreateCall } from '../../src/drivers/contract.ts';

/** A call of a driver that remembers its notes, and the requests that it wrote to the record. */
export type RecordingCall = CreateCall & {
  readonly notes: string[];
  readonly recordedRequests: string[];
};

/** Makes a call on this computer. Several calls may remember into the same lists. */
export function createRecordingCall(
  computer: Computer,
  {
    signal = new AbortController().signal,
    notes = [],
    recordedRequests = [],
  }: { readonly signal?: AbortSignal; readonly notes?: string[]; readonly recordedRequests?: string[] } = {},
): RecordingCall {
  return {
    computer,
    log: () => {},
    note: (text) => void notes.push(text),
    signal,
    notes,
    recordedRequests,
    recordRequest: async (what) => void recordedRequests.push(what),
  };
}
