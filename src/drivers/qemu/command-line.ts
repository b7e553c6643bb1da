// oxlint-disable unicorn/no-useless-spread -- a flag and its value stand on one line
export type Accelerator = 'kvm' | 'hvf' | 'whpx' | 'tcg';

/** What a VM is made of, whoever runs it. */
export type QemuConfig = {
  /** A UUID; also what a process is recognised by. */
  readonly id: string;
  readonly name: string;
  readonly arch: 'amd64' | 'arm64';
  readonly accelerator: Accelerator;
  readonly cpus: number;
  /** MiB. */
  readonly memory: number;
  /** Ports of 127.0.0.1 and what they lead to in the guest. */
  readonly forwards: readonly { readonly hostPort: number; readonly guestPort: number }[];
  readonly kernel: string;
  readonly initrd: string;
  /** The kernel's `root=`. */
  readonly root: string;
  /** Names the seed whose identity the guest takes; undefined when it has taken it for good. */
  readonly seedId: string | undefined;
  /** It has the port by which it is told things when it goes on after it was suspended. */
  readonly hasGuestChannel: boolean;
  /** The disk of a seed that it took in this run is part of it still. */
  readonly hasSeedDisk: boolean;
  /** It does not start, but goes on with its memory, which this command of a shell writes out. */
  readonly incomingCommand?: string;
};

/** Files of a VM's folder. The process runs in that folder, so that no path of the user's meets QEMU's own syntax. */
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

/** The program for machines of this architecture. */
export function qemuSystemCommand(arch: QemuConfig['arch']): string {
  return arch === 'arm64' ? 'qemu-system-aarch64' : 'qemu-system-x86_64';
}

/**
 * QEMU's arguments for a VM. Disks are virtio-blk, which can be suspended; the network is QEMU's own and
 * is reached from this computer alone, where a port of its loopback is forwarded.
 */
export function vmArguments(shape: QemuConfig, monitor: string): readonly string[] {
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
  } = shape;
  const hostForwards = forwards
    .map(({ hostPort, guestPort }) => `,hostfwd=tcp:127.0.0.1:${hostPort}-:${guestPort}`)
    .join('');
  return [
    ...['-name', `slipway-${name}`, '-uuid', id],
    ...machineArguments(shape),
    ...['-smp', String(cpus), '-m', `${memory}M`],
    ...['-nodefaults', '-no-user-config', '-display', 'none'],
    ...['-kernel', kernel, '-initrd', initrd],
    ...['-append', kernelCommandLine(shape, root, seedId === undefined ? [] : [`slipway.seed=${seedId}`])],
    ...driveArguments('root', VM_FILES.disk, 'qcow2,discard=unmap,detect-zeroes=unmap'),
    ...(hasSeedDisk ? driveArguments('seed', VM_FILES.seed, 'raw,readonly=on') : []),
    ...['-netdev', `user,id=net${hostForwards}`, '-device', 'virtio-net-pci,netdev=net'],
    ...['-device', 'virtio-rng-pci'],
    // What it said when it started is what it says for itself when it goes on.
    ...['-chardev', `file,id=console,path=${VM_FILES.console}${incomingCommand === undefined ? '' : ',append=on'}`],
    ...['-serial', 'chardev:console'],
    ...(hasGuestChannel ? guestChannelArguments(shape) : []),
    ...(incomingCommand === undefined ? [] : ['-S', '-incoming', `exec:${incomingCommand}`]),
    ...['-qmp', monitor, '-pidfile', VM_FILES.pid],
  ];
}

/** A console of its own that nobody logs in on, and a number whose change tells the kernel to make its random numbers anew. */
function guestChannelArguments({ arch }: Pick<QemuConfig, 'arch'>): readonly string[] {
  return [
    ...['-chardev', `socket,id=port,path=${VM_FILES.port},server=on,wait=off`],
    ...['-device', 'virtio-serial-pci', '-device', 'virtconsole,chardev=port'],
    ...(arch === 'amd64' ? ['-device', 'vmgenid,guid=auto'] : []),
  ];
}

/** What must be the same for a machine to go on: all that it consists of, without names, ports of this computer and paths. */
export function hardwareSignature(shape: QemuConfig): string {
  const { incomingCommand: _gone, ...rest } = shape;
  return vmArguments({ ...rest, id: '', name: '', forwards: [], kernel: '', initrd: '', seedId: undefined }, '').join(
    ' ',
  );
}

/** Starts the kernel and the initial RAM disk alone: they say `slipway: alive` where a guest can run, and stop. */
export function probeArguments(
  shape: Pick<QemuConfig, 'arch' | 'accelerator' | 'kernel' | 'initrd'>,
): readonly string[] {
  return [
    ...machineArguments(shape),
    ...['-smp', '1', '-m', '256M', '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-kernel', shape.kernel, '-initrd', shape.initrd],
    ...['-append', kernelCommandLine(shape, 'none', ['slipway.probe'])],
    ...['-serial', 'stdio'],
  ];
}

/** Starts a new image's own kernel on its own disk once, to make there what depends on the kernel (`templates/image/finish.sh`). */
export function finishArguments(
  shape: Pick<QemuConfig, 'arch' | 'accelerator' | 'kernel' | 'initrd' | 'root'>,
  disk: string,
): readonly string[] {
  return [
    ...machineArguments(shape),
    ...['-smp', '2', '-m', '1024M', '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-kernel', shape.kernel, '-initrd', shape.initrd],
    ...['-append', kernelCommandLine(shape, shape.root, ['slipway.finish'])],
    ...driveArguments('root', disk, 'qcow2,werror=report'),
    ...['-serial', 'stdio'],
  ];
}

/** Starts a vendor's image as the vendor meant it, by firmware and boot loader, with a NoCloud seed and a disk to answer on. */
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
  // On x86, Hyper-V's interface lacks an interrupt controller that works, and refuses models that promise more than it passes on.
  const whpx = arch === 'arm64' ? ['whpx', 'host'] : ['whpx,kernel-irqchip=off', 'qemu64'];
  // Pointer authentication costs emulated ARM half its speed, and protects nothing that is emulated.
  const tcg = ['tcg,thread=multi', arch === 'arm64' ? 'max,pauth-impdef=on' : 'max'];
  const [accel = '', cpu = ''] = { kvm: ['kvm', 'host'], hvf: ['hvf', 'host'], whpx, tcg }[accelerator];
  return ['-machine', machine, '-accel', accel, '-cpu', cpu];
}

function kernelCommandLine({ arch }: Pick<QemuConfig, 'arch'>, root: string, more: readonly string[]): string {
  const console = arch === 'arm64' ? 'ttyAMA0' : 'ttyS0';
  return [
    `root=${root}`,
    `console=${console}`,
    // The initial RAM disk knows the card by its first name.
    'net.ifnames=0',
    'loglevel=4',
    // Busy emulators make a kernel stumble now and then; what it holds is on its disk, so it starts again.
    'panic=5',
    // Its lines are what the user sees of a start, and what an error shows of one that failed.
    'systemd.show_status=true',
    // Nobody can log in on the console, and systemd need not ask it for its size.
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
