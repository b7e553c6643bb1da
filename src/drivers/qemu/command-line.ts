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
export function vmArguments(config: QemuConfig, monitor: string): readonly string[] {
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
  const hostForwards = forwards
    .map(({ hostPort, guestPort }) => `,hostfwd=tcp:127.0.0.1:${hostPort}-:${guestPort}`)
    .join('');
  return [
    ...['-name', `slipway-${name}`, '-uuid', id],
    ...machineArguments(config),
    ...['-smp', String(cpus), '-m', `${memory}M`],
    ...['-nodefaults', '-no-user-config', '-display', 'none'],
    ...['-kernel', kernel, '-initrd', initrd],
    ...['-append', kernelCommandLine(config, root, seedId === undefined ? [] : [`slipway.seed=${seedId}`])],
    ...driveArguments('root', VM_FILES.disk, 'qcow2,discard=unmap,detect-zeroes=unmap'),
    ...(hasSeedDisk ? driveArguments('seed', VM_FILES.seed, 'raw,readonly=on') : []),
    ...['-netdev', `user,id=net${hostForwards}`, '-device', 'virtio-net-pci,netdev=net'],
    ...['-device', 'virtio-rng-pci'],
    // A resume keeps the console of the boot, which holds the boot result.
    ...['-chardev', `file,id=console,path=${VM_FILES.console}${incomingCommand === undefined ? '' : ',append=on'}`],
    ...['-serial', 'chardev:console'],
    ...(hasGuestChannel ? guestChannelArguments(config) : []),
    ...(incomingCommand === undefined ? [] : ['-S', '-incoming', `exec:${incomingCommand}`]),
    ...['-qmp', monitor, '-pidfile', VM_FILES.pid],
  ];
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
  return vmArguments({ ...rest, id: '', name: '', forwards: [], kernel: '', initrd: '', seedId: undefined }, '').join(
    ' ',
  );
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
    ...['-netdev', 'user,id=net', '-device', 'virtio-net-pci,netdev=net', '-device', 'virtio-rng-pci'],
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
