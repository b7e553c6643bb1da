// oxlint-disable unicorn/no-useless-spread -- a flag and its value stand on one line
import { describe, expect, test } from 'vitest';
import {
  bakeArguments,
  VM_FILES,
  finishArguments,
  monitorArguments,
  machineTypeOf,
  probeArguments,
  qemuSystemCommand,
  replayArguments,
  versionedMachineType,
  vmArguments,
  withMachineType,
  withNetworkRom,
  type Accelerator,
  type QemuConfig,
} from '../../src/drivers/qemu/command-line.ts';
import { hardwareAccelerator } from '../../src/drivers/qemu/accelerator.ts';
import { isMachineName } from '../../src/machine/model.ts';

const ID = '0b6f0d2c-1f3a-4e0e-9d53-6d3f6b1f2a77';
const MONITOR_ARGUMENT = ['-qmp', 'unix:monitor.sock,server=on,wait=off'];

const configWith = (more: Partial<QemuConfig> = {}): QemuConfig => ({
  id: ID,
  name: 'web',
  arch: 'amd64',
  accelerator: 'kvm',
  cpus: 2,
  memory: 2048,
  forwards: [
    { hostPort: 20022, guestPort: 22 },
    { hostPort: 22376, guestPort: 2376 },
  ],
  kernel: '/images/vmlinuz',
  initrd: '/images/initrd',
  root: '/dev/vda',
  seedId: 'abcdef0123456789',
  hasGuestChannel: false,
  hasSeedDisk: more.seedId !== undefined || !('seedId' in more),
  ...more,
});

/** Returns what follows this flag, each time it occurs. */
const valuesOfFlag = (argv: readonly string[], flag: string): readonly string[] =>
  argv.flatMap((word, index) => (argv[index - 1] === flag ? [word] : []));
const valueOfFlag = (argv: readonly string[], flag: string): string => valuesOfFlag(argv, flag).join(' AND ');

describe('vmArguments', () => {
  test('returns these on Linux with KVM', () => {
    expect(vmArguments(configWith(), MONITOR_ARGUMENT)).toEqual([
      ...['-name', 'slipway-web', '-uuid', ID],
      ...['-machine', 'q35,usb=off,vmport=off', '-accel', 'kvm', '-cpu', 'host'],
      ...['-smp', '2', '-m', '2048M'],
      ...['-nodefaults', '-no-user-config', '-display', 'none'],
      ...['-kernel', '/images/vmlinuz', '-initrd', '/images/initrd'],
      '-append',
      'root=/dev/vda console=ttyS0 net.ifnames=0 loglevel=4 panic=5 systemd.show_status=true systemd.getty_auto=0 TERM=dumb slipway.seed=abcdef0123456789',
      ...['-drive', 'file=disk.qcow2,format=qcow2,if=none,id=root,discard=unmap,detect-zeroes=unmap'],
      ...['-device', 'virtio-blk-pci,drive=root,serial=slipway-root'],
      ...['-drive', 'file=seed.tar,format=raw,if=none,id=seed,readonly=on'],
      ...['-device', 'virtio-blk-pci,drive=seed,serial=slipway-seed'],
      '-netdev',
      'user,id=net,hostfwd=tcp:127.0.0.1:20022-:22,hostfwd=tcp:127.0.0.1:22376-:2376',
      ...['-device', 'virtio-net-pci,netdev=net', '-device', 'virtio-rng-pci'],
      ...['-chardev', 'file,id=console,path=console.log', '-serial', 'chardev:console'],
      ...MONITOR_ARGUMENT,
      ...['-pidfile', 'qemu.pid'],
    ]);
  });

  const CASES: readonly {
    readonly on: NodeJS.Platform;
    readonly arch: QemuConfig['arch'];
    readonly accelerator: Accelerator;
    readonly machine: string;
    readonly accel: string;
    readonly cpu: string;
    readonly console: string;
    readonly program: string;
  }[] = [
    {
      on: 'linux',
      arch: 'amd64',
      accelerator: 'kvm',
      machine: 'q35,usb=off,vmport=off',
      accel: 'kvm',
      cpu: 'host',
      console: 'ttyS0',
      program: 'qemu-system-x86_64',
    },
    {
      on: 'linux',
      arch: 'amd64',
      accelerator: 'tcg',
      machine: 'q35,usb=off,vmport=off',
      accel: 'tcg,thread=multi',
      cpu: 'max',
      console: 'ttyS0',
      program: 'qemu-system-x86_64',
    },
    {
      on: 'darwin',
      arch: 'arm64',
      accelerator: 'hvf',
      machine: 'virt,gic-version=max',
      accel: 'hvf',
      cpu: 'host',
      console: 'ttyAMA0',
      program: 'qemu-system-aarch64',
    },
    {
      on: 'win32',
      arch: 'amd64',
      accelerator: 'whpx',
      machine: 'q35,usb=off,vmport=off',
      accel: 'whpx,kernel-irqchip=off',
      cpu: 'qemu64',
      console: 'ttyS0',
      program: 'qemu-system-x86_64',
    },
    {
      on: 'linux',
      arch: 'arm64',
      accelerator: 'kvm',
      machine: 'virt,gic-version=max',
      accel: 'kvm',
      cpu: 'host',
      console: 'ttyAMA0',
      program: 'qemu-system-aarch64',
    },
    {
      on: 'linux',
      arch: 'arm64',
      accelerator: 'tcg',
      machine: 'virt,gic-version=max',
      accel: 'tcg,thread=multi',
      cpu: 'max,pauth-impdef=on',
      console: 'ttyAMA0',
      program: 'qemu-system-aarch64',
    },
  ];

  test.each(CASES)('returns the machine, accelerator and CPU of $on with $accelerator on $arch', (wanted) => {
    const { on, arch, accelerator, machine, accel, cpu } = wanted;
    const guest = { arch, accelerator, kernel: '/k', initrd: '/i' };
    for (const argv of [
      vmArguments(configWith({ arch, accelerator }), MONITOR_ARGUMENT),
      probeArguments(guest),
      bakeArguments({ arch, accelerator, firmware: undefined }),
    ])
      expect([valueOfFlag(argv, '-machine'), valueOfFlag(argv, '-accel'), valueOfFlag(argv, '-cpu')]).toEqual([
        machine,
        accel,
        cpu,
      ]);
    for (const argv of [vmArguments(configWith({ arch, accelerator }), MONITOR_ARGUMENT), probeArguments(guest)])
      expect(valueOfFlag(argv, '-append')).toContain(` console=${wanted.console} `);
    expect(qemuSystemCommand(arch)).toBe(wanted.program);
    if (accelerator !== 'tcg') expect(hardwareAccelerator(on)).toBe(accelerator);
  });

  test('returns otherwise the same for each accelerator', () => {
    const rest = ({ arch, accelerator }: Pick<QemuConfig, 'arch' | 'accelerator'>): readonly string[] =>
      vmArguments(configWith({ arch, accelerator }), MONITOR_ARGUMENT)
        .filter((_word, index, argv) => !['-machine', '-accel', '-cpu'].includes(argv[index - 1] ?? ''))
        .map((word) => word.replace(/console=tty\w+/, 'console=TTY').replace(/,romfile=$/, ''));
    for (const other of CASES) expect(rest(other)).toEqual(rest({ arch: 'amd64', accelerator: 'kvm' }));
  });

  test('forwards ports of 127.0.0.1, and none of other interfaces', () => {
    const argv = vmArguments(configWith({ forwards: [{ hostPort: 1, guestPort: 2 }] }), MONITOR_ARGUMENT);
    expect(valueOfFlag(argv, '-netdev')).toBe('user,id=net,hostfwd=tcp:127.0.0.1:1-:2');
    const all = vmArguments(configWith(), MONITOR_ARGUMENT).join(' ');
    expect([...all.matchAll(/hostfwd=\w+:([^:]*):/g)].map(([, address]) => address)).toEqual([
      '127.0.0.1',
      '127.0.0.1',
    ]);
    expect(valueOfFlag(vmArguments(configWith({ forwards: [] }), MONITOR_ARGUMENT), '-netdev')).toBe('user,id=net');
  });

  test('has no seed once the guest has applied it', () => {
    const argv = vmArguments(configWith({ seedId: undefined }), MONITOR_ARGUMENT);
    expect(argv.join(' ')).not.toMatch(/seed/);
    expect(valuesOfFlag(argv, '-drive')).toHaveLength(1);
  });

  test("names files of the VM's folder without a path, which QEMU's syntax could not take apart", () => {
    for (const file of Object.values(VM_FILES)) expect(file).toMatch(/^[a-z.]+[0-9]?$/);
    const argv = vmArguments(configWith(), MONITOR_ARGUMENT);
    const paths = argv.filter((_word, index) => !['-kernel', '-initrd', '-append'].includes(argv[index - 1] ?? ''));
    expect(paths.filter((word) => word.includes('/'))).toEqual([]);
  });

  test('passes kernel and initial RAM disk unchanged, whatever characters are in their paths', () => {
    const odd = { kernel: '/home/a, b=c;$d/vmlinuz', initrd: String.raw`C:\Users\Zoë, x\initrd` };
    for (const argv of [
      vmArguments(configWith(odd), MONITOR_ARGUMENT),
      probeArguments({ arch: 'amd64', accelerator: 'tcg', ...odd }),
    ]) {
      expect([valueOfFlag(argv, '-kernel'), valueOfFlag(argv, '-initrd')]).toEqual([odd.kernel, odd.initrd]);
      // No argument that QEMU splits at commas has a path of the user's.
      expect(argv.filter((word) => word.includes('a, b') || word.includes('Zoë'))).toHaveLength(2);
    }
  });

  test.each(['a', '0', 'a-.-b', 'x..y', 'UPPER.case-1', 'debug-threads', 'a'.repeat(63)])(
    'passes the name %s as one word without a comma',
    (name) => {
      expect(isMachineName(name)).toBe(true);
      expect(valueOfFlag(vmArguments(configWith({ name }), MONITOR_ARGUMENT), '-name')).toBe(`slipway-${name}`);
    },
  );

  test('needs no escaping, since no machine has a name with a comma or a blank', () => {
    for (const name of ['a,process=b', 'a b', '-S', 'a=b', 'a"b', 'a/b', ''])
      expect(isMachineName(name), name).toBe(false);
  });

  test('puts the monitor at the given address', () => {
    expect(monitorArguments(undefined)).toEqual(MONITOR_ARGUMENT);
    const argv = vmArguments(configWith(), monitorArguments(25_001));
    // The guest reaches every port of 127.0.0.1 at 10.0.2.2, so that the monitor must not accept strangers.
    expect(argv).not.toContain('-qmp');
    expect(valueOfFlag(argv, '-object')).toBe('tls-creds-psk,id=monitor-key,dir=.,endpoint=server');
    expect(valuesOfFlag(argv, '-chardev')).toContain(
      'socket,id=monitor,host=127.0.0.1,port=25001,server=on,wait=off,tls-creds=monitor-key',
    );
    expect(valueOfFlag(argv, '-mon')).toBe('chardev=monitor,mode=control');
  });
});

describe('replayArguments', () => {
  const MONITOR = ['-qmp', 'unix:monitor.sock,server=on,wait=off'];
  const started = vmArguments(configWith({ hasGuestChannel: true }), []);
  const now = { id: 'other', name: 'db', forwards: [{ hostPort: 5, guestPort: 22 }], incomingCommand: 'cat memory' };

  test('keeps the virtual hardware, and replaces names, host ports and the monitor', () => {
    const replayed = replayArguments(withMachineType(started, 'pc-q35-7.2'), now, MONITOR);
    expect(valueOfFlag(replayed, '-machine')).toBe('pc-q35-7.2,usb=off,vmport=off');
    expect(valueOfFlag(replayed, '-name')).toBe('slipway-db');
    expect(valueOfFlag(replayed, '-uuid')).toBe('other');
    expect(valueOfFlag(replayed, '-netdev')).toBe('user,id=net,hostfwd=tcp:127.0.0.1:5-:22');
    expect(replayed.slice(-5)).toEqual(['-S', '-incoming', 'exec:cat memory', ...MONITOR]);
    const kept = ['-cpu', '-smp', '-m', '-kernel', '-initrd', '-append', '-drive', '-device', '-serial', '-pidfile'];
    for (const flag of kept) expect(valuesOfFlag(replayed, flag), flag).toEqual(valuesOfFlag(started, flag));
    // The console of the boot is not overwritten.
    expect(valuesOfFlag(replayed, '-chardev')).toContain('file,id=console,path=console.log,append=on');
  });

  test('gives the same for the arguments of a VM that was resumed before', () => {
    const once = replayArguments(started, now, []);
    expect(replayArguments(once, now, [])).toEqual(once);
  });

  test('names the version of a machine type that a snapshot without arguments was written with', () => {
    expect(versionedMachineType('amd64', '7.2.22')).toBe('pc-q35-7.2');
    expect(versionedMachineType('arm64', '10.0.2')).toBe('virt-10.0');
    expect(machineTypeOf(started)).toBe('q35');
  });
});

test('the network card of ARM needs no ROM, which Debian has in another package; older VMs keep theirs', () => {
  const arm = vmArguments(configWith({ arch: 'arm64' }), MONITOR_ARGUMENT);
  expect(valuesOfFlag(arm, '-device')).toContain('virtio-net-pci,netdev=net,romfile=');
  expect(valuesOfFlag(withNetworkRom(arm), '-device')).toContain('virtio-net-pci,netdev=net');
  const firmware = '/usr/share/qemu-efi-aarch64/QEMU_EFI.fd';
  expect(valuesOfFlag(bakeArguments({ arch: 'arm64', accelerator: 'tcg', firmware }), '-device')).toContain(
    'virtio-net-pci,netdev=net,romfile=',
  );
  expect(valuesOfFlag(vmArguments(configWith(), MONITOR_ARGUMENT), '-device')).toContain('virtio-net-pci,netdev=net');
});

describe('probeArguments', () => {
  test('starts kernel and initial RAM disk without disk or network, and exits with the guest', () => {
    expect(probeArguments({ arch: 'amd64', accelerator: 'kvm', kernel: '/k', initrd: '/i' })).toEqual([
      ...['-machine', 'q35,usb=off,vmport=off', '-accel', 'kvm', '-cpu', 'host'],
      ...['-smp', '1', '-m', '256M', '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
      ...['-kernel', '/k', '-initrd', '/i'],
      '-append',
      'root=none console=ttyS0 net.ifnames=0 loglevel=4 panic=5 systemd.show_status=true systemd.getty_auto=0 TERM=dumb slipway.probe',
      ...['-serial', 'stdio'],
    ]);
  });
});

describe('finishArguments', () => {
  test('starts the kernel of an image on its disk, without network or seed, and exits with the guest', () => {
    const shaped = { arch: 'amd64', accelerator: 'tcg', kernel: '/k', initrd: '/i', root: '/dev/vda' } as const;
    expect(finishArguments(shaped, 'new.qcow2')).toEqual([
      ...['-machine', 'q35,usb=off,vmport=off', '-accel', 'tcg,thread=multi', '-cpu', 'max'],
      ...['-smp', '2', '-m', '1024M', '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
      ...['-kernel', '/k', '-initrd', '/i'],
      '-append',
      'root=/dev/vda console=ttyS0 net.ifnames=0 loglevel=4 panic=5 systemd.show_status=true systemd.getty_auto=0 TERM=dumb slipway.finish',
      ...['-drive', 'file=new.qcow2,format=qcow2,if=none,id=root,werror=report'],
      ...['-device', 'virtio-blk-pci,drive=root,serial=slipway-root'],
      ...['-serial', 'stdio'],
    ]);
  });
});

describe('bakeArguments', () => {
  test("starts a vendor's image with its own boot loader, a seed, an output disk and no port of this computer", () => {
    const argv = bakeArguments({ arch: 'amd64', accelerator: 'tcg', firmware: undefined });
    expect(argv).toEqual([
      ...['-machine', 'q35,usb=off,vmport=off', '-accel', 'tcg,thread=multi', '-cpu', 'max'],
      ...['-smp', '2', '-m', '1536M', '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
      ...['-drive', 'file=work.qcow2,format=qcow2,if=none,id=root,werror=report'],
      ...['-device', 'virtio-blk-pci,drive=root,serial=slipway-root'],
      ...['-blockdev', 'driver=vvfat,node-name=seed,dir=seed,label=cidata,read-only=on'],
      ...['-device', 'virtio-blk-pci,drive=seed'],
      ...['-drive', 'file=out.raw,format=raw,if=none,id=out,werror=report'],
      ...['-device', 'virtio-blk-pci,drive=out,serial=slipway-out'],
      ...['-netdev', 'user,id=net', '-device', 'virtio-net-pci,netdev=net', '-device', 'virtio-rng-pci'],
      ...['-serial', 'stdio'],
    ]);
  });

  test('names the firmware of an architecture that has none built in', () => {
    const firmware = '/usr/share/a, b/QEMU_EFI.fd';
    expect(valueOfFlag(bakeArguments({ arch: 'arm64', accelerator: 'hvf', firmware }), '-bios')).toBe(firmware);
  });
});
