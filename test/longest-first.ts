import { basename } from 'node:path';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** The end-to-end test files that take longest, in this order. */
const LONGEST = [
  'vm-failures',
  'vm-spares',
  'ec2-killed-creates',
  'gce-killed-creates',
  'vm-cloud-image',
  'vm-lifecycle',
  'vm-engine',
  'vm-link',
  'vm-apply',
  'vm-deadline',
  'windows',
  'concurrent-creates',
].map((name) => `${name}.test.ts`);

/** Starts the longest files first, so that none of them runs alone at the end, while other cores are idle. */
export class LongestFirstSequencer extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId, project }: TestSpecification): number => {
      const at = project.name === 'e2e' ? LONGEST.indexOf(basename(moduleId)) : -1;
      return at < 0 ? LONGEST.length : at;
    };
    const group = ({ project }: TestSpecification): number => project.config.sequence.groupOrder;
    const sorted = await super.sort(files); // oxlint-disable-line unicorn/no-array-sort -- The sequencer's own method.
    return sorted.toSorted((a, b) => group(a) - group(b) || rank(a) - rank(b));
  }
}
