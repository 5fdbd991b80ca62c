import type { FastifyInstance } from 'fastify'
import { errors } from '../errors.ts'
import type { ResolvedOptions } from '../resolve-options.ts'

interface Registration {
  /** What holds its sessions, and what their keys begin with; `null`: memory of its own. */
  readonly backend: { of: unknown, prefix: string } | null
  readonly cookie: string
}

/** The registrations of one application; its server is what all its contexts share. */
const registrations = new WeakMap<object, Registration[]>()

/**
 * Two registrations in one application must not meet in Redis or in the browser.
 * @throws ERR_SESSION_INVALID_OPTIONS
 */
export function claim (app: FastifyInstance, { cookieNames, cookie: { path, domain } }: ResolvedOptions, backend: Registration['backend']): void {
  const mine: Registration = { backend, cookie: [cookieNames[0], path, domain].join(';') }
  const others = registrations.get(app.server) ?? []
  for (const other of others) {
    if (mine.backend !== null && other.backend !== null && mine.backend.of === other.backend.of) {
      const [one, two] = [mine.backend.prefix, other.backend.prefix]
      if (typeof mine.backend.of === 'object') throw new errors.INVALID_OPTIONS('store is that of another registration: a session of one would be a session of the other')
      if (one.startsWith(two) || two.startsWith(one)) throw new errors.INVALID_OPTIONS('keyPrefix overlaps that of another registration on the same Redis')
    }
    if (mine.cookie === other.cookie) throw new errors.INVALID_OPTIONS('cookieName is that of another registration: signing in at one would sign out of the other')
  }
  registrations.set(app.server, [...others, mine])
}
