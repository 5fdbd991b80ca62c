import type { FastifySessionObject } from '@fastify/session'
import { errors } from '../errors.ts'
import type { Data } from '../session/changes.ts'
import type { SessionRecord } from '../session/record.ts'
import type { CookieLife } from './cookie.ts'
import type { Engine } from './engine.ts'
import { RESERVED_NAMES } from '../session/data.ts'

/** Whose session object it is: the request's side of it, which does what its methods mean. */
export interface SessionOwner {
  /** What is stored of it, and whether this request began it. */
  readonly stored: { readonly record: SessionRecord | null, readonly isBorn: boolean }
  /** The public id, today's: it changes when the session is saved under a new one. */
  readonly sessionId: string
  /** Whether assigning `userId` signs in; `false` where the application keeps the user elsewhere. */
  readonly ownsUserId: boolean
  /** Throws where nobody can sign in. */
  assertCanSignIn (): void
  /** A member of this object was assigned, also if to the same value. */
  assigned (session: FastifySessionObject, key: string): void
  save (session: FastifySessionObject): Promise<void>
  reload (session: FastifySessionObject): Promise<void>
  regenerate (session: FastifySessionObject, keys: readonly string[]): Promise<void>
  destroy (session: FastifySessionObject): Promise<void>
  isModified (session: FastifySessionObject): boolean
  isSaved (session: FastifySessionObject): boolean
  /** Hands out what a method comes to, by a callback if there is one. */
  answer (method: Method, work: Promise<void>, callback: Callback | undefined): Promise<void> | undefined
}

/** The methods that take time. */
export type Method = 'save' | 'reload' | 'regenerate' | 'destroy'

export type Callback = (error?: unknown) => unknown

/** Where @fastify/csrf-protection keeps its secret: never carried over a sign-in (CVE-2023-29020). */
export const CSRF_SECRET = '_csrf'

/** What a session object has besides the data. */
interface Own {
  readonly owner: SessionOwner
  /** What the route holds: assignments to it are noticed. */
  readonly session: FastifySessionObject
  /** Where its data is. */
  readonly target: Data
  /** Its cookie's attributes, and what is shown of them. */
  cookie: { readonly own: FastifySessionObject['cookie'], readonly shown: FastifySessionObject['cookie'] } | null
}

const kOwn = Symbol('fastify-user-sessions.own')
type Owned = FastifySessionObject & { readonly [kOwn]: Own }

/** Builds the session object of one request, that holds this data. */
export type BuildSession = (data: Data, owner: SessionOwner) => FastifySessionObject

/** How long the cookie of a session lives; `null`: until the browser closes. */
export type LifeOf = (stored: SessionOwner['stored']) => CookieLife | null

/**
 * Session objects as @fastify/session has them, but this package's own: their methods keep its promises, their
 * names cannot be overwritten by data, their ids are public handles, assignments are noticed, and JSON of
 * them is the data alone. What foreign hands stored under reserved names is left out.
 */
export function sessionObjects (engine: Engine, lifeOf: LifeOf): BuildSession {
  const prototype = prototypeOver(engine, lifeOf)
  return (data, owner) => {
    const target = Object.create(prototype) as Data
    for (const key of Object.keys(data)) if (!RESERVED_NAMES.has(key)) target[key] = data[key]
    const session = new Proxy(target, noticing) as unknown as FastifySessionObject
    // Not enumerable: what is spread, logged or sent is the data.
    Object.defineProperty(target, kOwn, { value: { owner, session, target, cookie: null } satisfies Own })
    return session
  }
}

/** Whoever is assigned to, a proxy of the session or what inherits from it: the session is what changes. */
const noticing: ProxyHandler<Data> = {
  set (target, key, value: unknown) {
    const { owner, session } = (target as unknown as Owned)[kOwn]
    if (key === 'userId' && owner.ownsUserId && value != null) owner.assertCanSignIn()
    const isSet = Reflect.set(target, key, owner.ownsUserId ? withTextId(key, value) : value)
    if (isSet && typeof key === 'string') owner.assigned(session, key)
    return isSet
  }
}

/** A member of the data; a bigint in it that is the user's id is text, for JSON has none. */
function withTextId (key: string | symbol, value: unknown): unknown {
  if (key === 'userId' && typeof value === 'bigint') return String(value)
  const id = key === 'user' ? (value as { id?: unknown } | null | undefined)?.id : undefined
  return typeof id === 'bigint' ? { ...value as object, id: String(id) } : value
}

/** The application's data in a session object, by reference. */
export function dataOf (session: FastifySessionObject): Data {
  const { target } = (session as Owned)[kOwn]
  const data: Data = {}
  for (const key of Object.keys(target)) if (!RESERVED_NAMES.has(key)) data[key] = target[key]
  return data
}

/** Takes a member out of a session object, unless the application has frozen that. */
export function drop (session: FastifySessionObject, key: string): void {
  Reflect.deleteProperty((session as Owned)[kOwn].target, key)
}

function prototypeOver (engine: Engine, lifeOf: LifeOf): object {
  const blank = engine()
  const base = Object.getPrototypeOf(blank) as object
  const method = (name: Method, work: (owner: SessionOwner, session: FastifySessionObject, keys: readonly string[]) => Promise<void>) =>
    function (this: Owned, ...args: unknown[]) {
      const { owner, session } = this[kOwn]
      const keys = Array.isArray(args[0]) ? args[0] as readonly string[] : []
      // As in express-session the callback comes last, after what to keep.
      const callback = args.find((each) => typeof each === 'function') as Callback | undefined
      return owner.answer(name, work(owner, session, keys), callback)
    }
  const methods: Record<string, (this: Owned, ...args: never[]) => unknown> = {
    save: method('save', (owner, session) => owner.save(session)),
    reload: method('reload', (owner, session) => owner.reload(session)),
    destroy: method('destroy', (owner, session) => owner.destroy(session)),
    regenerate: method('regenerate', (owner, session, keys) => owner.regenerate(session, keys)),
    isModified () { return this[kOwn].owner.isModified(this[kOwn].session) },
    isSaved () { return this[kOwn].owner.isSaved(this[kOwn].session) },
    toJSON () { return dataOf(this) },
    // Every request is a use, written down as touchAfter says; @fastify/session's own would set the cookie's date.
    touch () {}
  }
  const members: PropertyDescriptorMap = {
    sessionId: { get (this: Owned) { return this[kOwn].owner.sessionId } },
    encryptedSessionId: { get (this: Owned) { return this[kOwn].owner.sessionId } },
    cookie: {
      get (this: Owned) {
        const { owner } = this[kOwn]
        const { own, shown } = this[kOwn].cookie ??= readOnly(engine().cookie)
        setLife(own, lifeOf(owner.stored))
        return shown
      },
      set: (value: unknown) => value instanceof blank.cookie.constructor ? fixed() : refuse('cookie')
    }
  }
  const reserved = [...RESERVED_NAMES].map((name): [string, PropertyDescriptor] => {
    const get = name === '__proto__' ? () => prototype : () => Object.hasOwn(methods, name) ? methods[name] : (base as Record<string, unknown>)[name]
    return [name, { get, set: () => refuse(name), ...Object.hasOwn(members, name) && members[name] }]
  })
  const prototype = Object.create(base, { ...members, ...Object.fromEntries(reserved) }) as object
  return prototype
}

/** By this process's clock, which @fastify/session's cookies go by. */
function setLife (cookie: FastifySessionObject['cookie'], life: CookieLife | null): void {
  if (life === null) cookie.expires = null
  else cookie.maxAge = life.leftMs
  cookie.originalMaxAge = life?.totalMs ?? null
}

/** Elsewhere a way to lengthen one person's session; here it would change nothing, so it says so. */
function readOnly (cookie: FastifySessionObject['cookie']): NonNullable<Own['cookie']> {
  return { own: cookie, shown: new Proxy(cookie, { set: fixed, defineProperty: fixed, deleteProperty: fixed }) }
}

function fixed (): never {
  throw new errors.UNSUPPORTED('changing request.session.cookie: give remember or timeouts to login, or the cookie option to the plugin')
}

function refuse (name: string): never {
  throw new errors.RESERVED_KEY(name)
}
