import type { ClusterNode, ClusterOptions, RedisOptions } from 'ioredis'

/** Where Redis is and how to sign in there, in the words of the driver. */
export type Place = {
  /** What all keys begin with. */
  keyPrefix: string
} & ({ url: string } | { server: RedisOptions } | { nodes: ClusterNode[], options: ClusterOptions })

/** A fault of the `redis` option. Its message says what the option has to be, and shows no value. */
export class TargetFault extends Error {}

/** Parts of a URL that say where a server is. Those that it does not have are absent. */
export interface UrlParts {
  host?: string
  port?: number
  /** Path of a Unix socket. */
  path?: string
  tls: boolean
  username?: string
  password?: string
  database?: number
}

/** Schemes of the URLs of Redis, for messages. */
export const SCHEMES = 'redis://, rediss://, valkey://, valkeys:// or unix://'

const SERVER = /^(?:redis|valkey)s?:\/\//
/** `unix://user:password@/path/of/the.sock?db=1`. `URL` refuses a user without a host. */
const UNIX = /^unix:\/\/(?:([^:@/]*)(?::([^@/]*))?@)?(\/[^?#]+)(?:\?([^#]*))?(?:#.*)?$/

/** Whether a value is a URL of Redis. */
export function isRedisUrl (value: unknown): value is string {
  return typeof value === 'string' && (UNIX.test(value) || (SERVER.test(value) && URL.canParse(value)))
}

/** Whether a URL asks for TLS. */
export function isTlsUrl (url: string): boolean {
  return /^(?:redis|valkey)s:/.test(url)
}

/** Returns a URL as the driver knows it: of Redis. Another text stays as it is. */
export function inDriversWords (url: string): string {
  return url.replace(/^valkey(s?):/, 'redis$1:')
}

/**
 * Returns the parts of a URL that `isRedisUrl` lets through.
 * @throws TargetFault if its database is no number, or something in it cannot be decoded or is not known
 */
export function partsOf (url: string): UrlParts {
  const unix = UNIX.exec(url)
  if (unix !== null) {
    const [, username, password, path = '', query] = unix
    const parameters = new URLSearchParams(query)
    if ([...parameters.keys()].some((name) => name !== 'db')) {
      throw new TargetFault('must have no parameter but db in a unix:// URL')
    }
    const database = parameters.get('db') ?? ''
    return { path: decoded(path), tls: false, ...userOf(username, password), ...databaseOf(database) }
  }
  const { hostname, port, username, password, pathname } = new URL(url)
  return {
    ...hostname !== '' && { host: hostname.replace(/^\[(.*)\]$/, '$1') },
    ...port !== '' && { port: Number(port) },
    tls: isTlsUrl(url),
    ...userOf(username, password),
    ...databaseOf(pathname.slice(1))
  }
}

function userOf (username = '', password = ''): Pick<UrlParts, 'username' | 'password'> {
  return {
    ...username !== '' && { username: decoded(username) },
    ...password !== '' && { password: decoded(password) }
  }
}

function decoded (text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new TargetFault('must have % written as %25 in the URL')
  }
}

/** @throws TargetFault for what is no number of a database: the driver would use another */
export function assertDatabase (database: unknown): void {
  const isOne = ['string', 'number'].includes(typeof database) && /^\d+$/.test(String(database))
  if (database !== undefined && !isOne) throw new TargetFault('must have a number as database')
}

function databaseOf (text: string): Pick<UrlParts, 'database'> {
  if (text === '') return {}
  if (!/^\d+$/.test(text)) throw new TargetFault('must have the number of the database in the URL')
  return { database: Number(text) }
}
