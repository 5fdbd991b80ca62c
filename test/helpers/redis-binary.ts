import { execFile } from 'node:child_process'
import { access, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises'
import { constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'

/** A Redis server that can be started, and what has to be in its environment. */
export interface Server {
  path: string
  env: NodeJS.ProcessEnv
}

const NAMES = ['redis-server', 'valkey-server']
const HOMEBREW = ['/opt/homebrew/bin', '/usr/local/bin']
const CACHE = join(import.meta.dirname, '../../node_modules/.cache/fastify-user-sessions')
const OLDEST = 7

const run = promisify(execFile)
let found: Promise<Server> | undefined

/**
 * Looks for Redis (or Valkey) 7 or newer: `$REDIS_SERVER`, PATH, Homebrew, what an earlier run
 * downloaded, and at last Debian's own package, unpacked into node_modules. Installs nothing.
 * @throws when there is none, and says what to do
 */
export function findServer (): Promise<Server> {
  found ??= search()
  return found
}

async function search (): Promise<Server> {
  const named = process.env.REDIS_SERVER
  if (named) {
    const server = { path: named, env: process.env }
    if (await isUsable(server)) return server
    throw new Error('REDIS_SERVER does not name a Redis or Valkey server of version 7 or newer that can be started.')
  }
  const folders = [...(process.env.PATH ?? '').split(delimiter).filter(Boolean), ...HOMEBREW]
  for (const path of NAMES.flatMap((name) => folders.map((folder) => join(folder, name)))) {
    const server = { path, env: process.env }
    if (await isUsable(server)) return server
  }
  const unpacked = join(CACHE, 'redis')
  const server = await serverIn(unpacked)
  if (server !== null) return server
  const failure = await download(unpacked).then(() => undefined, (error: unknown) => error)
  const downloaded = await serverIn(unpacked)
  if (downloaded !== null) return downloaded
  throw new Error('These tests need Redis 7 or newer: install it (apt-get install redis-server, brew install redis) or set REDIS_SERVER to the path of redis-server or valkey-server.', { cause: failure })
}

async function isUsable ({ path, env }: Server): Promise<boolean> {
  try {
    await access(path, constants.X_OK)
    const { stdout } = await run(path, ['--version'], { env })
    return Number(/ v=(\d+)\./.exec(stdout)?.[1]) >= OLDEST
  } catch {
    return false
  }
}

/** The server that the packages unpacked in `folder` hold, with the libraries they hold beside it. */
async function serverIn (folder: string): Promise<Server | null> {
  const libraries = await Promise.all(['usr/lib', 'lib'].map(async (each) => {
    const path = join(folder, each)
    const entries = await readdir(path, { withFileTypes: true }).catch(() => [])
    return [path, ...entries.filter((entry) => entry.isDirectory()).map((entry) => join(path, entry.name))]
  }))
  const server = { path: join(folder, 'usr/bin/redis-server'), env: { ...process.env, LD_LIBRARY_PATH: libraries.flat().join(':') } }
  return await isUsable(server) ? server : null
}

/**
 * apt with package lists and a cache of its own: needs no root and leaves the system's as they are.
 * The folder appears at once and complete, because other test processes may be doing the same.
 */
async function download (target: string): Promise<void> {
  await mkdir(CACHE, { recursive: true })
  const work = await mkdtemp(join(CACHE, 'download-'))
  try {
    const options = ['-o', `Dir::State::lists=${join(work, 'lists')}`, '-o', `Dir::Cache=${join(work, 'cache')}`, '-o', 'Debug::NoLocking=1', '-o', 'APT::Sandbox::User=', '-q']
    const apt = (program: string, ...args: string[]) => run(program, [...options, ...args], { cwd: work, timeout: 90_000, maxBuffer: 1 << 26 })
    await mkdir(join(work, 'lists/partial'), { recursive: true })
    await mkdir(join(work, 'cache/archives/partial'), { recursive: true })
    await apt('apt-get', 'update')
    await apt('apt-get', 'download', 'redis-server', 'redis-tools', ...await librariesOf(apt, 'redis-tools'))
    const root = join(work, 'root')
    for (const file of await readdir(work)) {
      if (file.endsWith('.deb')) await run('dpkg', ['-x', join(work, file), root])
    }
    if (await serverIn(root) === null) throw new Error('the downloaded server cannot be started')
    await rename(root, target).catch(async (error: unknown) => {
      // Another process was faster, or an older download is there that cannot be used.
      if (await serverIn(target) !== null) return
      await rm(target, { recursive: true, force: true })
      await rename(root, target).catch(() => { throw error })
    })
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

type Apt = (program: string, ...args: string[]) => Promise<{ stdout: string }>

/** The library packages a package needs, and those they need. All but libc, which every system has. */
async function librariesOf (apt: Apt, name: string): Promise<string[]> {
  const libraries = new Set<string>()
  for (let names = [name]; names.length > 0;) {
    const { stdout } = await apt('apt-cache', 'depends', ...names)
    const needed = [...stdout.matchAll(/^ *\|?(?:Pre)?Depends: (lib[^\s<]+)$/gm)].map((match) => match[1] as string)
    names = [...new Set(needed)].filter((each) => each !== 'libc6' && !libraries.has(each))
    for (const each of names) libraries.add(each)
  }
  return [...libraries]
}
