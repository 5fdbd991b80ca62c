import type { FastifyInstance } from 'fastify'
import { errors } from '../errors.ts'
import type { ResolvedOptions } from '../options/resolve.ts'

interface Cookie {
  /** The name that is written, and those that are read as well. */
  readonly names: readonly string[]
  readonly path: string
  /** `null`: sent to the host alone that set it. */
  readonly domain: string | null
}

interface Registration {
  /** What holds its sessions, and what their keys begin with; `null`: memory of its own. */
  readonly backend: { of: unknown, prefix: string } | null
  readonly cookie: Cookie
}

/** The registrations of one application; its server is what all its contexts share. */
const registrations = new WeakMap<object, Registration[]>()

const MAY_MEET = 'cookieName is that of another registration, of another cookie.domain: on a host that is reached by both, browsers send two cookies of one name, which is no session. Give each a cookieName of its own'

/**
 * Two registrations in one application must not meet in Redis or in the browser. Returns what there is to warn of.
 * @throws ERR_SESSION_INVALID_OPTIONS
 */
export function claim (app: FastifyInstance, { cookieNames, cookie: { path, domain } }: ResolvedOptions, backend: Registration['backend']): Array<{ message: string }> {
  const mine: Registration = { backend, cookie: { names: cookieNames, path, domain: domain === undefined ? null : domain.toLowerCase().replace(/^\./, '') } }
  const others = registrations.get(app.server) ?? []
  for (const other of others) {
    assertApart(mine.backend, other.backend)
    if (meets(mine.cookie, other.cookie) && mine.cookie.domain === other.cookie.domain) throw new errors.INVALID_OPTIONS('cookieName is that of another registration: signing in at one would sign out of the other')
  }
  registrations.set(app.server, [...others, mine])
  return others.some((other) => meets(mine.cookie, other.cookie)) ? [{ message: MAY_MEET }] : []
}

/** @throws ERR_SESSION_INVALID_OPTIONS when sessions of the one would be found by the other */
function assertApart (mine: Registration['backend'], other: Registration['backend']): void {
  if (mine === null || other === null || mine.of !== other.of) return
  if (typeof mine.of === 'object') throw new errors.INVALID_OPTIONS('store is that of another registration: a session of one would be a session of the other')
  if (overlaps(mine.prefix, other.prefix)) throw new errors.INVALID_OPTIONS('keyPrefix overlaps that of another registration on the same Redis')
}

/** Whether a browser may send cookies of both with one request, and of one name, also where that is an older one. */
function meets (one: Cookie, other: Cookie): boolean {
  return mayShareHost(one.domain, other.domain) && overlaps(below(one.path), below(other.path)) && one.names.some((name) => other.names.includes(name))
}

/** RFC 6265 5.1.3: a cookie of a domain is sent to all hosts below it. */
function mayShareHost (one: string | null, other: string | null): boolean {
  return one === null || other === null || `.${one}`.endsWith(`.${other}`) || `.${other}`.endsWith(`.${one}`)
}

/** RFC 6265 5.1.4: a cookie of a path is sent for all paths below it. */
function below (path: string): string {
  return path.endsWith('/') ? path : `${path}/`
}

/** Whether what begins with the one may begin with the other. */
function overlaps (one: string, other: string): boolean {
  return one.startsWith(other) || other.startsWith(one)
}
