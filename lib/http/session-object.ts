import type { FastifySessionObject } from '@fastify/session'
import { errors } from '../errors.ts'
import type { Data } from '../session/changes.ts'
import type { Engine } from './engine.ts'
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

/** What a session object has besides the data. */
interface Own {
  readonly owner: SessionOwner
  /** The object itself, where it is reached through a proxy. */
  readonly session: FastifySessionObject
  /** Of an object whose owner is told of its being assigned. */
  userId: unknown
  cookie: FastifySessionObject['cookie'] | null
}

const kOwn = Symbol('fastify-user-sessions.own')
type Owned = FastifySessionObject & { readonly [kOwn]: Own } & Data

/** Builds the session object of one request, that holds this data. */
export type BuildSession = (data: Data, owner: SessionOwner) => FastifySessionObject

/**
 * Session objects as @fastify/session has them, but this package's own: their methods keep its promises, their
 * names cannot be overwritten by data, their ids are public handles, assigning `userId` is noticed, and JSON of
 * them is the data alone. What foreign hands stored under reserved names is left out.
 */
export function sessionObjects (engine: Engine): BuildSession {
  const prototype = prototypeOver(engine)
  return (data, owner) => {
    const session = Object.create(prototype) as Owned
    // Not enumerable: what is spread, logged or sent is the data.
    Object.defineProperty(session, kOwn, { value: { owner, session, userId: undefined, cookie: null } satisfies Own })
    for (const key of Object.keys(data)) {
      if (RESERVED_NAMES.has(key)) continue
      if (key === 'userId' && owner.ownsUserId) keepUserId(session, data[key])
      else Reflect.set(session, key, data[key])
    }
    return session
  }
}

/** The application's data in a session object, by reference. */
export function dataOf (session: FastifySessionObject): Data {
  const data: Data = {}
  for (const key of Object.keys(session)) {
    if (!RESERVED_NAMES.has(key)) data[key] = (session as Owned)[key]
  }
  return data
}

/** A CSRF token of before a sign-in is worthless after it. */
export function dropCsrfSecret (session: FastifySessionObject): void {
  delete (session as Owned)[CSRF_SECRET]
}

function prototypeOver (engine: Engine): object {
  const blank = engine()
  const base = Object.getPrototypeOf(blank) as object
  const methods: Record<string, (this: Owned, ...args: never[]) => unknown> = {
    save (callback?: Callback) { return settle(this[kOwn].owner.save(this), callback) },
    reload (callback?: Callback) { return settle(this[kOwn].owner.reload(this), callback) },
    destroy (callback?: Callback) { return settle(this[kOwn].owner.destroy(this), callback) },
    regenerate (keys?: readonly string[] | Callback, callback?: Callback) {
      return settle(this[kOwn].owner.regenerate(this, Array.isArray(keys) ? keys as readonly string[] : []), typeof keys === 'function' ? keys : callback)
    },
    isModified () { return this[kOwn].owner.isModified(this) },
    isSaved () { return this[kOwn].owner.isSaved(this) },
    toJSON () { return dataOf(this) },
    // Every request is a use, written down as touchAfter says; @fastify/session's own would set the cookie's date.
    touch () {}
  }
  const members: PropertyDescriptorMap = {
    sessionId: { get (this: Owned) { return this[kOwn].owner.sessionId } },
    encryptedSessionId: { get (this: Owned) { return this[kOwn].owner.sessionId } },
    cookie: {
      get (this: Owned) {
        this[kOwn].cookie ??= new Proxy(engine().cookie, readOnly)
        return this[kOwn].cookie
      },
      set: (value: unknown) => value instanceof blank.cookie.constructor ? fixed() : refuse('cookie')
    },
    userId: {
      get () {},
      set (this: Owned, value: unknown) {
        if (this[kOwn].owner.ownsUserId) {
          keepUserId(this, undefined)
          Reflect.set(this, 'userId', value)
        } else {
          Object.defineProperty(this, 'userId', { value, enumerable: true, configurable: true, writable: true })
        }
      }
    }
  }
  const reserved = [...RESERVED_NAMES].map((name): [string, PropertyDescriptor] => {
    const get = name === '__proto__' ? () => prototype : () => Object.hasOwn(methods, name) ? methods[name] : (base as Record<string, unknown>)[name]
    return [name, { get, set: () => refuse(name), ...Object.hasOwn(members, name) && members[name] }]
  })
  const prototype = Object.create(base, { ...members, ...Object.fromEntries(reserved) }) as object
  return prototype
}

function keepUserId (session: Owned, value: unknown): void {
  session[kOwn].userId = value
  Object.defineProperty(session, 'userId', userIdMember)
}

/** One for all objects: each with a getter of its own would be of a shape of its own. */
const userIdMember: PropertyDescriptor & ThisType<Owned> = {
  enumerable: true,
  configurable: true,
  get () { return this[kOwn].userId },
  set (next: unknown) {
    const own = this[kOwn]
    own.owner.assigned(own.session, next)
    own.userId = typeof next === 'bigint' ? String(next) : next
    // A token of the page before the sign-in must not work after it; one made from here on does.
    if (next != null) dropCsrfSecret(this)
  }
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
