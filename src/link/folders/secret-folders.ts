/** Folders of a user whose contents no machine may read, relative to the home folder. This is the only list. */
const SECRET_FOLDERS = [
  '.ssh',
  '.slipway',
  '.docker',
  '.gnupg',
  '.aws',
  '.azure',
  '.kube',
  '.config/gcloud',
  '.config/gh',
  '.password-store',
  '.local/share/keyrings',
  'Library/Keychains',
  'AppData/Roaming/gcloud',
  'AppData/Roaming/gnupg',
];

/** Returns the absolute paths of folders that are never served, also where a shared folder contains them. */
export function secretFoldersOf(
  userHome: string,
  slipwayHome: string,
  join: (...parts: string[]) => string,
): readonly string[] {
  return [...SECRET_FOLDERS.map((folder) => join(userHome, ...folder.split('/'))), slipwayHome];
}

/**
 * Returns a form in which names are equal that some file system takes for the same: macOS and Windows ignore case, and
 * macOS takes some other letters for ASCII ones, such as the Kelvin sign for k.
 */
export function foldName(path: string): string {
  return path.normalize('NFKC').toLowerCase().normalize('NFC');
}
