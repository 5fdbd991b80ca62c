import type { SessionManagerOptions, SessionOptions } from '../../lib/index.ts'
import type { SessionRecord } from '../../lib/session/record.ts'
import { isSessionStore } from '../../lib/session/store.ts'
import type { SessionStore } from '../../lib/session/store.ts'
import { HOUR } from './record.ts'

/*
 * `EVERYTHING=1`, as `npm run test:everything` sets it: what is off by default is on in the suites of races and outages,
 * so that their promises are seen to hold with it.
 */

/** Whether what is off by default is on. */
export const EVERYTHING = process.env.EVERYTHING === '1'

/** Returns options with what is off by default, unless it cannot be had with them. */
export function withEverything<Options extends Partial<SessionOptions> | Partial<SessionManagerOptions>> (options: Options): Options {
  const { store, expressSession, endedFor } = options as Partial<SessionOptions>
  const marks = expressSession !== 'share' && (store === undefined || (isSessionStore(store) && 'ended' in store))
  return EVERYTHING ? { knownDevices: '90d', ...marks && endedFor === undefined && { endedFor: '1h' }, ...options } : options
}

/** Members of a record that only some sign-ins have. */
export function everyMember (userId: string | null): Partial<SessionRecord> {
  return EVERYTHING && userId !== null ? { methods: 'pwd otp', idp: JSON.stringify(['https://id.example', userId]) } : {}
}

/** Returns the same store; all ends leave marks. */
export function marking<Store extends SessionStore> (store: Store): Store {
  if (!EVERYTHING || store.ended === undefined) return store
  const add = { begin: 1, replace: 2, move: 2, delete: 1, deleteByUser: 1, deleteByIdp: 1 } as const
  const own = Object.entries(add).flatMap(([name, at]) => {
    const method = store[name as keyof typeof add] as ((...args: unknown[]) => unknown) | undefined
    if (method === undefined) return []
    const mark = name.startsWith('delete') ? { mark: { forMs: HOUR, reason: 'revoked' } } : { markForMs: HOUR }
    return [[name, (...args: unknown[]) => method.apply(store, [...args.slice(0, at), { ...mark, ...args[at] as object | undefined }])]]
  })
  const marked = Object.fromEntries(own) as Record<PropertyKey, unknown>
  return new Proxy(store, {
    get: (target, name) => {
      if (Object.hasOwn(marked, name)) return marked[name]
      const member: unknown = Reflect.get(target, name, target)
      return typeof member === 'function' ? member.bind(target) as unknown : member
    }
  })
}
