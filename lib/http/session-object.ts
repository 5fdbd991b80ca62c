import type { FastifySessionObject } from '@fastify/session'
import { errors } from '../errors.ts'
import type { Data } from '../session/changes.ts'
import { RESERVED_NAMES } from '../session/reserved.ts'

/** Whose session object it is: the request's side of it, which does what its methods mean. */
export interface SessionOwner {
  /** The public id, today's: it changes when the session is saved under a new one. */
  readonly sessionId: string
  /** Whether assigning `userId` signs in; `false` where the application keeps the user elsewhere. */
  readonly ownsUserId: boolean
  /** `userId` of this object is being assigned, also if to the same value. Throws where nobody can sign in. */
  assigned (session: FastifySessionObject, userId: unknown): void
  save (session: FastifySessionObject): Promise<void>
  reload (session: FastifySessionObject): Promise<void>
  regenerate (session: FastifySessionObject, keys: readonly string[]): Promise<void>
  destroy (session: FastifySessionObject): Promise<void>
  isModified (session: FastifySessionObject): boolean
  isSaved (session: FastifySessionObject): boolean
}

type Callback = (error?: unknown) => void

/** Where @fastify/csrf-protection keeps its secret: never carried over a sign-in (CVE-2023-29020). */
export const CSRF_SECRET = '_csrf'

const kOwner = Symbol('fastify-user-sessions.owner')
type Owned = FastifySessionObject & { [kOwner]: SessionOwner } & Data
let prototype: object | undefined

/**
 * Makes a session object of @fastify/session this request's own: its methods keep this package's
 * promises, its names cannot be overwritten by data, its ids are public handles, assigning `userId` is
 * noticed, and JSON of it is the data alone.
 */
export function adopt (session: FastifySessionObject, owner: SessionOwner): void {
  prototype ??= prototypeOver(Object.getPrototypeOf(session) as object)
  const cookie = session.cookie
  const view = new Proxy(cookie, readOnly)
  Object.setPrototypeOf(session, prototype)
  const owned = session as Owned
  Object.defineProperty(session, kOwner, { value: owner })
  Object.defineProperty(session, 'cookie', { get: () => view, set: (value: unknown) => value instanceof cookie.constructor ? fixed() : refuse('cookie') })
  if (owner.ownsUserId && Object.hasOwn(session, 'userId')) keepUserId(owned, owned.userId)
}

/** The application's data in a session object, by reference. */
export function dataOf (session: FastifySessionObject): Data {
  const data: Data = {}
  for (const [key, value] of Object.entries(session)) {
    if (!RESERVED_NAMES.has(key)) data[key] = value
  }
  return data
}

/** A CSRF token of before a sign-in is worthless after it. */
export function dropCsrfSecret (session: FastifySessionObject): void {
  delete (session as Owned)[CSRF_SECRET]
}

function prototypeOver (base: object): object {
  const methods: Record<string, (this: Owned, ...args: never[]) => unknown> = {
    save (callback?: Callback) { return settle(this[kOwner].save(this), callback) },
    reload (callback?: Callback) { return settle(this[kOwner].reload(this), callback) },
    destroy (callback?: Callback) { return settle(this[kOwner].destroy(this), callback) },
    regenerate (keys?: readonly string[] | Callback, callback?: Callback) {
      return settle(this[kOwner].regenerate(this, Array.isArray(keys) ? keys as readonly string[] : []), typeof keys === 'function' ? keys : callback)
    },
    isModified () { return this[kOwner].isModified(this) },
    isSaved () { return this[kOwner].isSaved(this) },
    toJSON () { return dataOf(this) },
    // Every request is a use, written down as touchAfter says; @fastify/session's own would set the cookie's date.
    touch () {}
  }
  const members: PropertyDescriptorMap = {
    sessionId: { get (this: Owned) { return this[kOwner].sessionId } },
    encryptedSessionId: { get (this: Owned) { return this[kOwner].sessionId } },
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
  const reserved = [...RESERVED_NAMES].filter((name) => name !== 'cookie').map((name): [string, PropertyDescriptor] => {
    const get = name === '__proto__' ? () => prototype : () => Object.hasOwn(methods, name) ? methods[name] : (base as Record<string, unknown>)[name]
    return [name, { get, ...Object.hasOwn(members, name) && members[name], set: () => refuse(name) }]
  })
  return Object.create(base, { ...members, ...Object.fromEntries(reserved) }) as object
}

function keepUserId (session: Owned, value: unknown): void {
  Object.defineProperty(session, 'userId', {
    enumerable: true,
    configurable: true,
    get: () => value,
    set: (next: unknown) => {
      session[kOwner].assigned(session, next)
      value = typeof next === 'bigint' ? String(next) : next
      // A token of the page before the sign-in must not work after it; one made from here on does.
      if (next != null) dropCsrfSecret(session)
    }
  })
}

/** Gives a promise's outcome to a callback instead, if there is one; what that throws is its caller's, not ours. */
function settle (promise: Promise<void>, callback: Callback | undefined): Promise<void> | undefined {
  if (typeof callback !== 'function') return promise
  promise.then(() => process.nextTick(callback), (error: unknown) => process.nextTick(callback, error))
}

/** Elsewhere a way to lengthen one person's session; here it would change nothing, so it says so. */
const readOnly: ProxyHandler<FastifySessionObject['cookie']> = { set: fixed, defineProperty: fixed, deleteProperty: fixed }

function fixed (): never {
  throw new errors.UNSUPPORTED('changing request.session.cookie: give remember or timeouts to login, or the cookie option to the plugin')
}

function refuse (name: string): never {
  throw new errors.RESERVED_KEY(name)
}
