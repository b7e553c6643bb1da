/** The computer that Slipway runs on, as far as drivers, images and `doctor` need to know it. */
export type Computer = {
  readonly platform: NodeJS.Platform;
  /** Node's name of the processor: `x64`, `arm64`. */
  readonly arch: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The folder of everything that Slipway stores: `~/.slipway`, or SLIPWAY_HOME. */
  readonly home: string;
  /** The folder of the machines' records, which also identifies the store elsewhere; `home` if missing. */
  readonly storeHome?: string;
  /** The folder `templates/` of this package. */
  readonly templates: string;
};
