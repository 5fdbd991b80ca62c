import { spawnSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './process.ts'

/*
 * Installs what folders with a package.json of their own need, where it is missing or older than their lock file:
 * other people's packages, which `npm test` does without.
 *
 *     tsx test/helpers/peers.ts examples test/interop
 */

/** The folders of files and tests that import packages of their own. */
export const PEERS = ['bench', 'docs', 'examples', 'test/interop']

/** Installs the packages of these folders, one after the other. */
export function installPeers (folders: string[]): void {
  for (const folder of folders.filter((each) => !isInstalled(each))) {
    console.log(`npm ci, in ${folder}`)
    const { status } = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: join(root, folder), stdio: 'inherit' })
    if (status !== 0) throw new Error(`npm ci failed in ${folder}`)
  }
}

/** Whether npm has finished an installation since the lock file was written. */
function isInstalled (folder: string): boolean {
  const [lock, installed] = ['package-lock.json', 'node_modules/.package-lock.json'].map(changedAt) as [number, number]
  return installed >= lock

  function changedAt (file: string): number {
    return statSync(join(root, folder, file), { throwIfNoEntry: false })?.mtimeMs ?? 0
  }
}

if (process.argv[1] === import.meta.filename) installPeers(process.argv.slice(2))
