import { parseAnswers } from './facts.ts';
import type { PlannedPackage, Step, StepPreview } from './step.ts';

const CHANGES = ['install', 'upgrade', 'downgrade', 'remove'] as const;

/** Returns the step that asks a host what this step would do; undefined if its script can only do it. */
export function toPreviewStep(step: Step): Step | undefined {
  const { previewVariables } = step;
  return previewVariables && { ...step, files: [], variables: { ...step.variables, ...previewVariables } };
}

/** Parses the output of a preview: lines `package CHANGE NAME OLD NEW` (`-` for none) and `note SENTENCE`. */
export function parsePreview(output: string): StepPreview {
  const { all } = parseAnswers(output);
  return { packages: all('package').flatMap(parseChange), notes: all('note') };
}

function parseChange(line: string): readonly PlannedPackage[] {
  const [word, name = '', from = '-', to = '-'] = line.split(' ');
  const change = CHANGES.find((known) => known === word);
  if (change === undefined || name === '') return [];
  return [{ name, change, ...(from === '-' ? {} : { from }), ...(to === '-' ? {} : { to }) }];
}
