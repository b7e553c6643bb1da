/** What drivers, images and `doctor` need to know about the computer that Slipway runs on. */
export type Computer = {
  readonly platform: NodeJS.Platform;
  /** The processor architecture as Node names it: `x64`, `arm64`. */
  readonly arch: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The folder of all files that Slipway stores: `~/.slipway`, or SLIPWAY_HOME. */
  readonly home: string;
  /** The folder that contains the machines' records and the store's id; `home` if missing. */
  readonly storeHome?: string;
  /** This package's folder `templates/`. */
  readonly templates: string;
};
