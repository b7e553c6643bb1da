/**
 * Preloaded by Node (`--import`), gives this computer an ARM processor, as far as Slipway can see. This shows what
 * Slipway decides on such a computer, and nothing about the computer itself: the programs are still those of x86-64.
 */
Object.defineProperty(process, 'arch', { value: 'arm64' });
