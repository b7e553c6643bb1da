export type Image = {
  readonly version: 1;
  readonly name: string;
  readonly arch: 'amd64' | 'arm64';
  readonly digest: string;
  readonly files: Readonly<
    Record<
      'disk.qcow2' | 'vmlinuz' | 'initrd',
      { readonly sha256: string; readonly bytes: number; readonly mtimeMs: number }
    >
  >;
  readonly root: string;
  readonly engine: string;
  readonly made: string;
  readonly source:
    | { readonly kind: 'built'; readonly suite: string }
    | { readonly kind: 'baked'; readonly url: string; readonly digest: string };
};
