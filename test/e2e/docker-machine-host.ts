import { execFileSync } from 'node:child_process';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { BedHost } from '../bed/bed-host.ts';

const provisionScript = fileURLToPath(new URL('../bed/provision-as-docker-machine.sh', import.meta.url));

/**
 * Provisions a host as Docker Machine does, and writes the store that belongs to it: certs/ and machines/NAME/ with a
 * config.json of version 3.
 */
export async function provisionAsDockerMachine(
  host: BedHost,
  name: string,
  root: string,
  { storageDriver = 'overlay2' } = {},
): Promise<void> {
  await host.copyIn(provisionScript, '/tmp/provision-as-docker-machine.sh');
  const tar = await host.runOrThrow(
    `STORAGE_DRIVER=${storageDriver} sh /tmp/provision-as-docker-machine.sh ${host.address} ${name}`,
  );
  await mkdir(root, { recursive: true, mode: 0o700 });
  execFileSync('tar', ['-xf', '-', '-C', root], { input: Buffer.from(tar, 'base64') });
  const folder = join(root, 'machines', name);
  // Docker Machine copies an imported key.
  await copyFile(host.keyFile, join(folder, 'bed_key'));
  await writeFile(join(folder, 'bed_key'), await readFile(host.keyFile), { mode: 0o600 });
  await writeFile(join(folder, 'config.json'), JSON.stringify(buildConfigJson(host, name, root), null, 4), {
    mode: 0o600,
  });
}

function buildConfigJson(host: BedHost, name: string, root: string): object {
  const certs = join(root, 'certs');
  const folder = join(root, 'machines', name);
  return {
    ConfigVersion: 3,
    Driver: {
      IPAddress: host.address,
      MachineName: name,
      SSHUser: 'root',
      SSHPort: 22,
      SSHKeyPath: join(folder, 'bed_key'),
      StorePath: root,
      SwarmMaster: false,
      SwarmHost: 'tcp://0.0.0.0:3376',
      SwarmDiscovery: '',
      EnginePort: 2376,
      SSHKey: host.keyFile,
    },
    DriverName: 'generic',
    HostOptions: {
      Driver: '',
      Memory: 0,
      Disk: 0,
      EngineOptions: {
        ArbitraryFlags: ['log-opt=max-size=5m'],
        Dns: null,
        GraphDir: '',
        Env: ['HTTPS_PROXY=http://me:hunter2@proxy.invalid:3128'],
        Ipv6: false,
        InsecureRegistry: [],
        Labels: ['team=web'],
        LogLevel: '',
        StorageDriver: '',
        SelinuxEnabled: false,
        TlsVerify: true,
        RegistryMirror: [],
        InstallURL: 'https://get.docker.com',
      },
      SwarmOptions: { IsSwarm: false, Host: 'tcp://0.0.0.0:3376', Image: 'swarm:latest', Strategy: 'spread' },
      AuthOptions: {
        CertDir: certs,
        CaCertPath: join(certs, 'ca.pem'),
        CaPrivateKeyPath: join(certs, 'ca-key.pem'),
        CaCertRemotePath: '',
        ServerCertPath: join(folder, 'server.pem'),
        ServerKeyPath: join(folder, 'server-key.pem'),
        ClientKeyPath: join(certs, 'key.pem'),
        ServerCertRemotePath: '',
        ServerKeyRemotePath: '',
        ClientCertPath: join(certs, 'cert.pem'),
        ServerCertSANs: [],
        StorePath: folder,
      },
    },
    Name: name,
  };
}
