/** The computer that Slipway runs on, as far as drivers, images and `doctor` need to know it. */
export type Computer = {
  readonly platform: NodeJS.Platform;
  /** As Node names it: `x64`, `arm64`. */
  readonly arch: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The folder of all that Slipway keeps: `~/.slipway`, or SLIPWAY_HOME. */
  readonly home: string;
  /** Where the records of machines lie, and so what the store is known by elsewhere: `home`, unless told. */
  readonly storeHome?: string;
  /** The folder `templates/` of this package. */
  readonly templates: string;
};
