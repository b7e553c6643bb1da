import type { Computer } from '../../src/computer/computer.ts';
import type { CreateCall } from '../../src/drivers/contract.ts';

/** A call of a driver that collects its notes and its recorded requests. */
export type RecordingCall = CreateCall & {
  readonly notes: string[];
  readonly recordedRequests: string[];
};

/** Creates a call on this computer. Several calls may share the same lists. */
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
    clearRequest: async () => void recordedRequests.push('nothing'),
  };
}
