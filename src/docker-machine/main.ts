// The drop-in for the old tool of this name.
export {};
