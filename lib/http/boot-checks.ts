import type { FastifyInstance, FastifyServerOptions, RouteOptions } from 'fastify'
import { errors } from '../errors.ts'
import type { ResolvedOptions } from '../options/resolve.ts'
import { isObject } from '../session/arguments.ts'
import type { RouteSessionConfig } from './context.ts'

/** Warning for the log, at boot. */
export interface BootWarning {
  readonly message: string
}

/** @throws ERR_SESSION_INVALID_OPTIONS when the application has a name already that we would take */
export function assertFree (app: FastifyInstance, names: ResolvedOptions['decorators']): void {
  const { auth, requireAuth, ...onInstance } = names
  const taken = [
    ...Object.values(onInstance).filter((name) => app.hasDecorator(name)).map((name) => `app.${name}`),
    ...['session', auth, requireAuth].filter((name) => app.hasRequestDecorator(name)).map((name) => `request.${name}`)
  ]
  if (taken.length === 0) return
  const advice = taken.includes('request.session')
    ? 'do not register another session plugin, or this one twice, in one context'
    : 'give the decorator another name here'
  const exist = taken.length === 1 ? 'exists' : 'exist'
  throw new errors.INVALID_OPTIONS(`decorators: ${taken.join(', ')} ${exist} already; ${advice}`)
}

/** Members of a route's `config.session`. */
const ROUTE_MEMBERS: ReadonlyArray<keyof RouteSessionConfig> = ['csrf', 'touch']

/**
 * Checks a route's `config.session`. An option that is misspelt, or `'false'`, would have no effect.
 * @throws ERR_SESSION_INVALID_OPTIONS
 */
export function assertRouteConfig ({ method, url, config }: RouteOptions): void {
  const session: unknown = (config as { session?: unknown } | undefined)?.session
  if (session == null || typeof session === 'boolean') return
  const place = `config.session of ${[method].flat().join(', ')} ${url}`
  if (!isObject(session)) throw new errors.INVALID_OPTIONS(`${place} must be false or an object`)
  for (const [name, value] of Object.entries(session)) {
    const isKnown = (ROUTE_MEMBERS as readonly string[]).includes(name)
    if (!isKnown) throw new errors.INVALID_OPTIONS(`${place} must have no members but ${ROUTE_MEMBERS.join(', ')}`)
    const isSwitch = value === undefined || typeof value === 'boolean'
    if (!isSwitch) throw new errors.INVALID_OPTIONS(`${place}: ${name} must be true or false`)
  }
}

interface Cookie {
  /** The name that is written, and those that are read as well. */
  readonly names: readonly string[]
  readonly path: string
  /** `null`: sent to the host alone that set it. */
  readonly domain: string | null
}

interface Registration {
  /** Holder of its sessions, and the prefix of their keys; `null`: memory of its own. */
  readonly backend: { of: unknown, prefix: string } | null
  readonly cookie: Cookie
}

/**
 * The registrations of one application, by what all its contexts share. Not by its server: one that is started anew may
 * get that of the one before.
 */
const registrations = new WeakMap<object, Registration[]>()

const MAY_MEET = 'cookieName is that of another registration, of another cookie.domain: on a host that is reached by' +
  ' both, browsers send two cookies of one name, which is no session. Give each a cookieName of its own'

/**
 * Notes a registration of the plugin. Two in one application must not meet in Redis or in the browser.
 * @throws ERR_SESSION_INVALID_OPTIONS when it meets another one
 */
export function claim (
  app: FastifyInstance, { cookieNames, cookie }: ResolvedOptions, backend: Registration['backend']
): BootWarning[] {
  const domain = cookie.domain === undefined ? null : cookie.domain.toLowerCase().replace(/^\./, '')
  const mine: Registration = { backend, cookie: { names: cookieNames, path: cookie.path, domain } }
  const others = registrations.get(app.initialConfig) ?? []
  for (const other of others) {
    assertApart(mine.backend, other.backend)
    if (mine.cookie.domain !== other.cookie.domain || !meets(mine.cookie, other.cookie)) continue
    const consequence = 'signing in at one would sign out of the other'
    throw new errors.INVALID_OPTIONS(`cookieName is that of another registration: ${consequence}`)
  }
  registrations.set(app.initialConfig, [...others, mine])
  return others.some((other) => meets(mine.cookie, other.cookie)) ? [{ message: MAY_MEET }] : []
}

/** @throws ERR_SESSION_INVALID_OPTIONS when sessions of the one would be found by the other */
function assertApart (mine: Registration['backend'], other: Registration['backend']): void {
  if (mine === null || other === null || mine.of !== other.of) return
  if (typeof mine.of === 'object') {
    const consequence = 'a session of one would be a session of the other'
    throw new errors.INVALID_OPTIONS(`store is that of another registration: ${consequence}`)
  }
  if (overlaps(mine.prefix, other.prefix)) {
    throw new errors.INVALID_OPTIONS('keyPrefix overlaps that of another registration on the same Redis')
  }
}

/** Whether a browser may send cookies of both with one request, and of one name, also where that is an older one. */
function meets (one: Cookie, other: Cookie): boolean {
  if (!mayShareHost(one.domain, other.domain) || !overlaps(below(one.path), below(other.path))) return false
  return one.names.some((name) => other.names.includes(name))
}

/** Whether a host may get cookies of both domains: they are sent to all hosts below (RFC 6265 5.1.3). */
function mayShareHost (one: string | null, other: string | null): boolean {
  return one === null || other === null || `.${one}`.endsWith(`.${other}`) || `.${other}`.endsWith(`.${one}`)
}

/** Returns what all paths begin with that get a cookie of this path (RFC 6265 5.1.4). */
function below (path: string): string {
  return path.endsWith('/') ? path : `${path}/`
}

/** Whether a text may begin with both. */
function overlaps (one: string, other: string): boolean {
  return one.startsWith(other) || other.startsWith(one)
}

const TRUSTS_ALL = 'trustProxy is true: whoever reaches this server says what its address, host and protocol are,' +
  ' and limits on failed logins and the cross-site check stand on these. Set it to the address of your proxy'

/** Servers of applications that were warned. */
const warned = new WeakSet<object>()

/** Warns, once for an application, of forwarded headers that are believed from anybody (ASVS 5.0 4.1.3). */
export function proxyWarnings (app: FastifyInstance): BootWarning[] {
  if (serverOptionsOf(app)?.trustProxy !== true || warned.has(app.server)) return []
  warned.add(app.server)
  return [{ message: TRUSTS_ALL }]
}

/** Options of Fastify's server that this package reads. */
type ServerOptions = Pick<FastifyServerOptions, 'trustProxy' | 'ajv' | 'serializerOpts' | 'schemaController'>

/** Returns the options that Fastify was called with, `undefined` where they are not found: no public place has them. */
export function serverOptionsOf (app: FastifyInstance): ServerOptions | undefined {
  for (let each: object | null = app; each !== null; each = Object.getPrototypeOf(each) as object | null) {
    const options = Object.getOwnPropertySymbols(each).find(({ description }) => description === 'fastify.options')
    // What is under it is Fastify's own affair.
    if (options !== undefined) return (each as Record<symbol, ServerOptions | undefined>)[options]
  }
  return undefined
}
