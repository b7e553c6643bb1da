import type { Distro } from '../../src/provision/distros/distro.ts';
import type { ServiceManager } from '../../src/provision/init/service-manager.ts';
import { systemd } from '../../src/provision/init/systemd.ts';

/** A distribution as a newcomer would add it: one file, one script, one line in the registry. */
export const toyLinux: Distro = {
  name: 'toy',
  label: 'Toy Linux',
  factsScript: 'distros/toy/facts.sh',
  isRecognized: ({ packageManager }) => packageManager === 'toypkg',
  enginePackages: { moby: 'distro' },
  packageStateOf: (state) => (state === 'whole' ? 'installed' : 'incomplete'),
  isVersionMatch: (version, wanted) => version.startsWith(wanted),
  upstreamVersionOf: (version) => version.replace(/-r\d+$/, ''),
  installKib: 1024,
  limitationOf: ({ source }) => (source === 'docker' ? "Docker's repository has no packages for Toy Linux" : undefined),
  conflictOf: () => undefined,
  sourceFilesFor: () => [],
  installScript: ({ engine, source }) => ({
    template: 'install-engine.toy.sh',
    scripts: ['distros/toy/install-engine.sh'],
    variables: { SOURCE: source, VERSION: engine.version ?? '' },
  }),
  upgradeScript: (packages) => ({
    template: 'install-engine.toy.sh',
    scripts: ['distros/toy/install-engine.sh'],
    variables: { PACKAGES: packages.join(' ') },
  }),
};

/** A service manager that differs from systemd in its name, its scripts and the path of the engine's drop-in. */
export const toyInit: ServiceManager = {
  ...systemd,
  name: 'toyinit',
  label: 'toyinit',
  scripts: { ...systemd.scripts, services: 'init/toyinit/services.sh', facts: 'init/toyinit/facts.sh' },
  isRecognized: ({ serviceManager }) => serviceManager === 'toyinit',
  engine: {
    ...systemd.engine,
    dropInPaths: ['/etc/toyinit/docker.conf'],
    dropInPathFor: () => '/etc/toyinit/docker.conf',
  },
};
