// oxlint-disable unicorn/no-useless-spread -- a flag and its value are on one line
export type Accelerator = 'kvm' | 'hvf' | 'whpx' | 'tcg';

/** Everything that QEMU's arguments for a VM depend on. */
export type QemuConfig = {
  /** A UUID. It also identifies the process of the VM. */
  readonly id: string;
  readonly name: string;
  readonly arch: 'amd64' | 'arm64';
  readonly accelerator: Accelerator;
  readonly cpus: number;
  /** MiB. */
  readonly memory: number;
  /** Ports of 127.0.0.1, each with the guest's port that it leads to. */
  readonly forwards: readonly { readonly hostPort: number; readonly guestPort: number }[];
  readonly kernel: string;
  readonly initrd: string;
  /** The kernel's `root=`. */
  readonly root: string;
  /** The id of the seed that the guest has to apply; undefined once it has. */
  readonly seedId: string | undefined;
  /** Whether the VM has the channel to its guest agent, which a suspend and a resume need. */
  readonly hasGuestChannel: boolean;
  /** Whether the seed's disk is attached. It stays attached until the next start, although the guest needs it once. */
  readonly hasSeedDisk: boolean;
  /** Resumes the VM instead of booting it, with the memory that this shell command writes to its output. */
  readonly incomingCommand?: string;
};

/** The files in a VM's folder. QEMU runs in that folder, so that none of the user's paths has to fit QEMU's syntax. */
export const VM_FILES = {
  disk: 'disk.qcow2',
  seed: 'seed.tar',
  console: 'console.log',
  lastConsole: 'console.last.log',
  output: 'qemu.log',
  pid: 'qemu.pid',
  monitor: 'monitor.sock',
  /** The key of a monitor that listens on a port. QEMU gives the file its name. */
  monitorKeys: 'keys.psk',
  /** Exists once `stop` has asked the guest to shut down, until the next start. */
  shutdown: 'shutdown.asked',
  port: 'port.sock',
  memory: 'memory',
} as const;

/** Returns the name of the QEMU program for guests of this architecture. */
export function qemuSystemCommand(arch: QemuConfig['arch']): string {
  return arch === 'arm64' ? 'qemu-system-aarch64' : 'qemu-system-x86_64';
}

/**
 * Returns QEMU's arguments for a VM. Disks are virtio-blk, which can be suspended. The network is QEMU's user-mode one:
 * only this computer can reach it, through forwarded ports of its loopback address.
 */
export function vmArguments(config: QemuConfig, monitor: readonly string[]): readonly string[] {
  const {
    id,
    name,
    cpus,
    memory,
    forwards,
    kernel,
    initrd,
    root,
    seedId,
    hasSeedDisk,
    hasGuestChannel,
    incomingCommand,
  } = config;
  return [
    ...['-name', `slipway-${name}`, '-uuid', id],
    ...machineArguments(config),
    ...['-smp', String(cpus), '-m', `${memory}M`],
    ...['-nodefaults', '-no-user-config', '-display', 'none'],
    ...['-kernel', kernel, '-initrd', initrd],
    ...['-append', kernelCommandLine(config, root, seedId === undefined ? [] : [`slipway.seed=${seedId}`])],
    ...driveArguments('root', VM_FILES.disk, 'qcow2,discard=unmap,detect-zeroes=unmap'),
    ...(hasSeedDisk ? driveArguments('seed', VM_FILES.seed, 'raw,readonly=on') : []),
    ...['-netdev', networkBackend(forwards), '-device', networkDevice(config)],
    ...['-device', 'virtio-rng-pci'],
    // A resume keeps the console of the boot, which holds the boot result.
    ...['-chardev', `file,id=console,path=${VM_FILES.console}${incomingCommand === undefined ? '' : ',append=on'}`],
    ...['-serial', 'chardev:console'],
    ...(hasGuestChannel ? guestChannelArguments(config) : []),
    ...(incomingCommand === undefined ? [] : ['-S', '-incoming', `exec:${incomingCommand}`]),
    ...monitor,
    ...['-pidfile', VM_FILES.pid],
  ];
}

/**
 * Returns the arguments for a VM's monitor: a socket in its folder, or a port of 127.0.0.1. The guest and all users of
 * this computer can connect to a port, so QEMU accepts only clients that know the key in the VM's folder.
 */
export function monitorArguments(port: number | undefined): readonly string[] {
  if (port === undefined) return ['-qmp', `unix:${VM_FILES.monitor},server=on,wait=off`];
  return [
    ...['-object', 'tls-creds-psk,id=monitor-key,dir=.,endpoint=server'],
    ...['-chardev', `socket,id=monitor,host=127.0.0.1,port=${port},server=on,wait=off,tls-creds=monitor-key`],
    ...['-mon', 'chardev=monitor,mode=control'],
  ];
}

function networkBackend(forwards: QemuConfig['forwards']): string {
  return [
    'user,id=net',
    ...forwards.map(({ hostPort, guestPort }) => `hostfwd=tcp:127.0.0.1:${hostPort}-:${guestPort}`),
  ].join(',');
}

/** On ARM, without the ROM that boots from the network: Debian has it in a package that QEMU does not require. */
function networkDevice({ arch }: Pick<QemuConfig, 'arch'>): string {
  return `virtio-net-pci,netdev=net${arch === 'arm64' ? ',romfile=' : ''}`;
}

/** Returns the arguments as older versions of Slipway chose them: they gave the network card of ARM a ROM. */
export function withNetworkRom(argv: readonly string[]): readonly string[] {
  return argv.map((word) => word.replace(/^(virtio-net-pci,netdev=net),romfile=$/, '$1'));
}

/**
 * Returns the arguments that start a suspended VM again: those of its start, so that its virtual hardware is the same
 * whatever this version of Slipway would choose. Only names, host ports and the monitor may differ.
 */
export function replayArguments(
  argv: readonly string[],
  { id, name, forwards, incomingCommand }: Pick<QemuConfig, 'id' | 'name' | 'forwards'> & { incomingCommand: string },
  monitor: readonly string[],
): readonly string[] {
  const replaced: Readonly<Record<string, string>> = {
    '-name': `slipway-${name}`,
    '-uuid': id,
    '-netdev': networkBackend(forwards),
  };
  const kept: string[] = [];
  for (let index = 0; index < argv.length; index += 1) {
    const [flag = '', value] = [argv[index], argv[index + 1]];
    if (flag === '-S') continue;
    if (flag === '-incoming') {
      index += 1;
      continue;
    }
    kept.push(flag);
    if (value === undefined || FLAGS_WITHOUT_VALUE.has(flag)) continue;
    index += 1;
    const isConsole = flag === '-chardev' && value.startsWith('file,id=console,') && !value.includes(',append=on');
    kept.push(replaced[flag] ?? (isConsole ? `${value},append=on` : value));
  }
  return [...kept, ...['-S', '-incoming', `exec:${incomingCommand}`], ...monitor];
}

const FLAGS_WITHOUT_VALUE: ReadonlySet<string> = new Set(['-nodefaults', '-no-user-config', '-S']);

/** Returns the arguments with this version of the machine type, such as `pc-q35-7.2`, in place of the newest one. */
export function withMachineType(argv: readonly string[], machineType: string): readonly string[] {
  return argv.map((word, index) => (argv[index - 1] === '-machine' ? word.replace(/^[^,]+/, machineType) : word));
}

/** Returns the machine type in QEMU's arguments. */
export function machineTypeOf(argv: readonly string[]): string {
  return argv[argv.indexOf('-machine') + 1]?.split(',')[0] ?? '';
}

/** Returns the name that a machine type has in a version of QEMU, such as 7.2.22. */
export function versionedMachineType(arch: QemuConfig['arch'], version: string): string {
  const [major, minor] = version.split('.');
  return `${arch === 'arm64' ? 'virt' : 'pc-q35'}-${major}.${minor}`;
}

/**
 * Returns the arguments for a second console, which the guest agent uses, and for a generation id whose change makes
 * the kernel reseed its random numbers.
 */
function guestChannelArguments({ arch }: Pick<QemuConfig, 'arch'>): readonly string[] {
  return [
    ...['-chardev', `socket,id=port,path=${VM_FILES.port},server=on,wait=off`],
    ...['-device', 'virtio-serial-pci', '-device', 'virtconsole,chardev=port'],
    ...(arch === 'amd64' ? ['-device', 'vmgenid,guid=auto'] : []),
  ];
}

/**
 * Returns a text of everything that must be the same for a VM to resume: its virtual hardware, without names, host
 * ports and paths.
 */
export function hardwareSignature(config: QemuConfig): string {
  const { incomingCommand: _incomingCommand, ...rest } = config;
  const anonymous = { ...rest, id: '', name: '', forwards: [], kernel: '', initrd: '', seedId: undefined };
  // Older versions gave every network card a ROM.
  return withNetworkRom(vmArguments(anonymous, ['-qmp', ''])).join(' ');
}

/**
 * Returns the arguments that start only the kernel and the initial RAM disk, which print `slipway: alive` if a guest
 * can run, and power off.
 */
export function probeArguments(
  config: Pick<QemuConfig, 'arch' | 'accelerator' | 'kernel' | 'initrd'>,
): readonly string[] {
  return [
    ...machineArguments(config),
    ...['-smp', '1', '-m', '256M', '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-kernel', config.kernel, '-initrd', config.initrd],
    ...['-append', kernelCommandLine(config, 'none', ['slipway.probe'])],
    ...['-serial', 'stdio'],
  ];
}

/**
 * Returns the arguments that start a new image's kernel on its disk once, to create the files that depend on the kernel
 * (`templates/image/finish.sh`).
 */
export function finishArguments(
  config: Pick<QemuConfig, 'arch' | 'accelerator' | 'kernel' | 'initrd' | 'root'>,
  disk: string,
): readonly string[] {
  return [
    ...machineArguments(config),
    ...['-smp', '2', '-m', '1024M', '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-kernel', config.kernel, '-initrd', config.initrd],
    ...['-append', kernelCommandLine(config, config.root, ['slipway.finish'])],
    ...driveArguments('root', disk, 'qcow2,werror=report'),
    ...['-serial', 'stdio'],
  ];
}

/**
 * Returns the arguments that start a vendor's image with its own boot loader, a NoCloud seed, and a second disk for the
 * files that the guest exports.
 */
export function bakeArguments({
  arch,
  accelerator,
  firmware,
}: Pick<QemuConfig, 'arch' | 'accelerator'> & { readonly firmware: string | undefined }): readonly string[] {
  return [
    ...machineArguments({ arch, accelerator }),
    ...(firmware === undefined ? [] : ['-bios', firmware]),
    ...['-smp', '2', '-m', '1536M', '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...driveArguments('root', 'work.qcow2', 'qcow2,werror=report'),
    ...['-blockdev', 'driver=vvfat,node-name=seed,dir=seed,label=cidata,read-only=on'],
    ...['-device', 'virtio-blk-pci,drive=seed'],
    ...driveArguments('out', 'out.raw', 'raw,werror=report'),
    ...['-netdev', networkBackend([]), '-device', networkDevice({ arch }), '-device', 'virtio-rng-pci'],
    ...['-serial', 'stdio'],
  ];
}

function machineArguments({ arch, accelerator }: Pick<QemuConfig, 'arch' | 'accelerator'>): readonly string[] {
  const machine = arch === 'arm64' ? 'virt,gic-version=max' : 'q35,usb=off,vmport=off';
  // On x86, Hyper-V has no working interrupt controller, and refuses CPU models with more features than it passes on.
  const whpx = arch === 'arm64' ? ['whpx', 'host'] : ['whpx,kernel-irqchip=off', 'qemu64'];
  // QEMU's architected pointer authentication halves the speed of emulated ARM, and protects nothing there.
  const tcg = ['tcg,thread=multi', arch === 'arm64' ? 'max,pauth-impdef=on' : 'max'];
  const [accel = '', cpu = ''] = { kvm: ['kvm', 'host'], hvf: ['hvf', 'host'], whpx, tcg }[accelerator];
  return ['-machine', machine, '-accel', accel, '-cpu', cpu];
}

function kernelCommandLine({ arch }: Pick<QemuConfig, 'arch'>, root: string, more: readonly string[]): string {
  const console = arch === 'arm64' ? 'ttyAMA0' : 'ttyS0';
  return [
    `root=${root}`,
    `console=${console}`,
    // The initial RAM disk expects the network card under the name eth0.
    'net.ifnames=0',
    'loglevel=4',
    // A kernel can panic on a busy emulator; its data is on its disk, so it reboots.
    'panic=5',
    // The user sees these lines while a VM starts, and an error shows the last of them.
    'systemd.show_status=true',
    // Nobody logs in on the console, and without a known terminal systemd does not ask it for its size.
    'systemd.getty_auto=0',
    'TERM=dumb',
    ...more,
  ].join(' ');
}

function driveArguments(id: string, file: string, how: string): readonly string[] {
  const [format = '', ...rest] = how.split(',');
  const options = [`file=${file}`, `format=${format}`, 'if=none', `id=${id}`, ...rest].join(',');
  return ['-drive', options, '-device', `virtio-blk-pci,drive=${id},serial=slipway-${id}`];
}
