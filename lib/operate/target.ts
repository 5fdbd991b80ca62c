import { isRedisUrl, partsOf, TargetFault } from '../redis/place.ts'
import type { UrlParts } from '../redis/place.ts'
import type { RedisTarget } from '../redis/target.ts'
import { DEFAULT_PREFIX } from '../redis/keys.ts'
import { textOf } from './command.ts'
import type { Surroundings, Values } from './command.ts'
import { misuse } from './exit.ts'

/** Where the sessions are. */
export interface Target {
  readonly redis: RedisTarget
  /** What the keys of sessions begin with. */
  readonly prefix: string
  /** The same for people, without a password. */
  readonly where: string
}

const PORTS = { server: 6379, sentinel: 26379 }

/**
 * Returns where the sessions are, by the options and the environment.
 * @throws Failure
 */
export function targetOf (values: Values, env: Surroundings['env']): Target {
  const given = textOf(values, 'redis')
  const text = given ?? env.REDIS_URL ?? ''
  const urls = text.split(',').map((url) => url.trim()).filter((url) => url !== '')
  if (urls.length === 0) {
    throw misuse('it is not said where Redis is: set REDIS_URL, or write --redis redis://host:6379')
  }
  const servers = urls.map((url) => serverOf(url, given === undefined ? 'REDIS_URL' : '--redis'))
  if (given !== undefined && servers.some(({ password }) => password !== undefined)) {
    throw misuse('--redis has a password: everybody on this machine could see it. Set REDIS_PASSWORD (and ' +
      'REDIS_USERNAME), or REDIS_URL with the password in it')
  }
  const prefix = textOf(values, 'prefix') ?? DEFAULT_PREFIX
  const sentinel = textOf(values, 'sentinel')
  if (sentinel !== undefined && values.cluster === true) throw misuse('write --sentinel or --cluster, not both')
  const port = sentinel === undefined ? PORTS.server : PORTS.sentinel
  const names = servers.map((server) => server.path ?? `${server.host ?? 'localhost'}:${server.port ?? port}`)
  const where = `${sentinel === undefined ? '' : `"${sentinel}" by Sentinel `}${names.join(', ')}`
  const signIn = signInOf(servers, env)
  if (sentinel !== undefined) return { redis: bySentinel(sentinel, servers, signIn, env), prefix, where }
  if (values.cluster === true || servers.length > 1) return { redis: ofCluster(servers, signIn), prefix, where }
  return { redis: ofServer(servers[0] as UrlParts, signIn), prefix, where }
}

/** @throws Failure for what is no URL. The text is not shown: it may hold a password */
function serverOf (url: string, name: string): UrlParts {
  if (!isRedisUrl(url)) {
    throw misuse(`${name} must be a URL such as redis://host:6379, rediss://host:6379 or unix:///path/of/the.sock`)
  }
  try {
    return partsOf(url)
  } catch (error) {
    if (error instanceof TargetFault) throw misuse(`${name} ${error.message}`)
    throw error
  }
}

/** User name and password, where they are given. */
interface SignIn {
  username?: string
  password?: string
}

function signInOf (servers: readonly UrlParts[], env: Surroundings['env']): SignIn {
  const of = (name: 'username' | 'password', variable: string | undefined): SignIn => {
    const value = servers.find((server) => server[name] !== undefined)?.[name] ?? variable
    return value === undefined || value === '' ? {} : { [name]: value }
  }
  return { ...of('username', env.REDIS_USERNAME), ...of('password', env.REDIS_PASSWORD) }
}

function ofServer ({ host, port, path, tls, database }: UrlParts, signIn: SignIn): RedisTarget {
  return {
    ...path === undefined ? { host: host ?? 'localhost', port: port ?? PORTS.server } : { path },
    ...tls && { tls: {} },
    ...database !== undefined && { db: database },
    ...signIn
  }
}

function ofCluster (servers: readonly UrlParts[], signIn: SignIn): RedisTarget {
  if (servers.some(({ database = 0 }) => database !== 0)) throw misuse('a Cluster has no database but 0')
  if (servers.some(({ path }) => path !== undefined)) throw misuse('a node of a Cluster has a host, and no socket')
  const cluster = servers.map(({ host = 'localhost', port = PORTS.server }) => ({ host, port }))
  return { cluster, ...servers.some(({ tls }) => tls) && { tls: {} }, ...signIn }
}

function bySentinel (
  name: string, servers: readonly UrlParts[], signIn: SignIn, env: Surroundings['env']
): RedisTarget {
  if (servers.some(({ path }) => path !== undefined)) throw misuse('a Sentinel has a host, and no socket')
  const { REDIS_SENTINEL_USERNAME: username, REDIS_SENTINEL_PASSWORD: password } = env
  const database = servers.find((server) => server.database !== undefined)?.database
  return {
    name,
    sentinels: servers.map(({ host = 'localhost', port = PORTS.sentinel }) => ({ host, port })),
    ...servers.some(({ tls }) => tls) && { tls: {}, sentinelTLS: {}, enableTLSForSentinelMode: true },
    ...username !== undefined && username !== '' && { sentinelUsername: username },
    ...password !== undefined && password !== '' && { sentinelPassword: password },
    ...database !== undefined && { db: database },
    ...signIn
  }
}
