import type { Distro } from './distro.ts';

/** The fingerprint of "Docker Release (CE deb)", from Docker's installation page. */
const DOCKER_KEY = '9DC858229FC7DD38854AE2D88D81803C0EBFCD88';
const DOCKER_REPOSITORY = 'https://download.docker.com/linux';

const INSTALL_SCRIPT = { template: 'install-engine.debian.sh', script: 'distros/debian/install-engine.sh' } as const;

/** Debian's family: the distributions whose package manager is apt. */
export const debian: Distro = {
  name: 'debian',
  label: 'Debian, Ubuntu and their derivatives',
  factsScript: 'distros/debian/facts.sh',
  isRecognized: ({ os, packageManager }) =>
    packageManager === 'apt' && [os.id, ...os.idLike].some((id) => id === 'debian' || id === 'ubuntu'),
  enginePackages: { 'docker.io': 'distro', 'docker-ce': 'docker' },
  packageStateOf(state) {
    // dpkg also lists removed packages whose configuration files are left.
    if (state === 'not-installed' || state === 'config-files') return 'absent';
    return state === 'installed' ? 'installed' : 'incomplete';
  },
  // Matches with or without the epoch, which users rarely type.
  isVersionMatch: (version, wanted) => version.startsWith(wanted) || withoutEpoch(version).startsWith(wanted),
  // `5:27.3.1-1~debian.12~bookworm` -> `27.3.1`
  upstreamVersionOf: (version) => withoutEpoch(version).replace(/[-+~].*$/, ''),
  installKib: 600 * 1024,
  limitationOf: () => undefined,
  installScript: ({ engine, source, facts: { os } }) => ({
    ...INSTALL_SCRIPT,
    variables: {
      SOURCE: source,
      VERSION: engine.version ?? '',
      DISTRIBUTION: os.id === 'ubuntu' || os.idLike.includes('ubuntu') ? 'ubuntu' : 'debian',
      CODENAME: os.codename,
      REPOSITORY_URL: engine.repositoryUrl ?? DOCKER_REPOSITORY,
      REPOSITORY_KEY: (engine.repositoryKey ?? DOCKER_KEY).toUpperCase(),
      INSTALL_URL: engine.installUrl ?? '',
    },
  }),
  upgradeScript: (packages, version) => ({
    ...INSTALL_SCRIPT,
    variables: { SOURCE: 'present', VERSION: version, PACKAGES: packages.join(' ') },
  }),
};

function withoutEpoch(version: string): string {
  return version.replace(/^\d+:/, '');
}
