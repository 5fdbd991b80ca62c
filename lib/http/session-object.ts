import type { FastifySessionObject } from '@fastify/session'
import { errors } from '../errors.ts'
import type { Data } from '../session/changes.ts'

/** What the session object reports to: the request's side of it. */
export interface SessionOwner {
  /** The public id, today's: it changes when the session is saved under a new one. */
  readonly sessionId: string
  /** Whether assigning `userId` signs in; `false` where the application keeps the user elsewhere. */
  readonly ownsUserId: boolean
  /** `userId` was assigned, also if to the same value. */
  assigned (): void
  /** Runs one of @fastify/session's own methods, its store calls answered for this request. */
  bridged<T> (method: () => T): T
}

/** Where @fastify/csrf-protection keeps its secret: never carried over a sign-in (CVE-2023-29020). */
export const CSRF_SECRET = '_csrf'
const METHODS = ['save', 'regenerate', 'reload', 'destroy', 'touch', 'options', 'get', 'set', 'isModified', 'isSaved'] as const
const BRIDGED: ReadonlySet<string> = new Set(['save', 'regenerate', 'reload', 'destroy'])
const RESERVED: ReadonlySet<string> = new Set([...METHODS, 'cookie', 'sessionId', 'encryptedSessionId', 'toJSON', '__proto__', 'constructor'])

const kOwner = Symbol('fastify-user-sessions.owner')
type Owned = FastifySessionObject & { [kOwner]: SessionOwner } & Data
let prototype: object | undefined

/**
 * Makes a session object of @fastify/session this request's own: its names cannot be overwritten by
 * data, its ids are public handles, assigning `userId` is noticed, and JSON of it is the data alone.
 */
export function adopt (session: FastifySessionObject, owner: SessionOwner): void {
  prototype ??= prototypeOver(Object.getPrototypeOf(session) as object)
  const cookie = session.cookie
  Object.setPrototypeOf(session, prototype)
  const owned = session as Owned
  Object.defineProperty(session, kOwner, { value: owner })
  // @fastify/session's own options() puts a new cookie object there; what goes out is the configuration's.
  Object.defineProperty(session, 'cookie', { enumerable: true, get: () => cookie, set: (value: unknown) => { if (!(value instanceof cookie.constructor)) refuse('cookie') } })
  if (owner.ownsUserId && Object.hasOwn(session, 'userId')) keepUserId(owned, owned.userId)
}

/** The application's data in a session object, by reference. */
export function dataOf (session: FastifySessionObject): Data {
  const data: Data = {}
  for (const [key, value] of Object.entries(session)) {
    if (!RESERVED.has(key)) data[key] = value
  }
  return data
}

/** A CSRF token of before a sign-in is worthless after it. */
export function dropCsrfSecret (session: FastifySessionObject): void {
  delete (session as Owned)[CSRF_SECRET]
}

/** Data as it may be put into a session object: what foreign hands stored under reserved names is left out. */
export function withoutReserved (data: Data): Data {
  return Object.fromEntries(Object.entries(data).filter(([key]) => !RESERVED.has(key)))
}

function prototypeOver (base: object): object {
  const members: PropertyDescriptorMap = {
    sessionId: { get (this: Owned) { return this[kOwner].sessionId } },
    encryptedSessionId: { get (this: Owned) { return this[kOwner].sessionId } },
    toJSON: { get () { return function (this: Owned) { return dataOf(this) } } },
    ['__proto__']: { get () { return prototype } },
    constructor: { get () { return base.constructor } },
    userId: {
      get () {},
      set (this: Owned, value: unknown) {
        if (this[kOwner].ownsUserId) {
          keepUserId(this, undefined)
          Reflect.set(this, 'userId', value)
        } else {
          Object.defineProperty(this, 'userId', { value, enumerable: true, configurable: true, writable: true })
        }
      }
    }
  }
  for (const name of METHODS) {
    const own = (base as Record<string, (...args: unknown[]) => unknown>)[name] as (...args: unknown[]) => unknown
    const method = BRIDGED.has(name)
      ? function (this: Owned, ...args: unknown[]) { return this[kOwner].bridged(() => own.apply(this, args)) }
      : own
    members[name] = { get: () => method }
  }
  for (const name of Object.keys(members).concat('__proto__')) {
    if (name !== 'userId') (members[name] as PropertyDescriptor).set = () => refuse(name)
  }
  return Object.create(base, members) as object
}

function keepUserId (session: Owned, value: unknown): void {
  Object.defineProperty(session, 'userId', {
    enumerable: true,
    configurable: true,
    get: () => value,
    set: (next: unknown) => {
      value = next
      // A token of the page before the sign-in must not work after it; one made from here on does.
      if (next != null) dropCsrfSecret(session)
      session[kOwner].assigned()
    }
  })
}

function refuse (name: string): never {
  throw new errors.RESERVED_KEY(name)
}
